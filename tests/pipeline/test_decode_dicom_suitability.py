"""What the tags say is no frontal chest film of a person is refused with the tag named; what they do not say is marked."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from app.pipeline import decode
from app.pipeline.dicom.rules import HeaderRules
from app.pipeline.dicom.suitability import CHEST_REGION_CODES, FRONTAL_VIEW_CODES
from app.pipeline.errors import UnsuitableImage
from app.settings import Settings, SettingsError
from tests.support.films import part10

from .films import film


def coded(value: str, scheme: str = "SCT") -> Sequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, "Doe^Jane"
    return Sequence([code])


ACCEPTED: dict[str, dict[str, object]] = {
    "CR": {"Modality": "CR"},
    "AP": {"ViewPosition": "AP"},
    "in small letters": {"BodyPartExamined": "chest", "ViewPosition": "pa"},
    "THORAX": {"BodyPartExamined": "THORAX"},
    "for presentation": {"PresentationIntentType": "FOR PRESENTATION"},
    "from the front": {"PatientOrientation": ["L", "F"]},
    "orientation with a second letter": {"PatientOrientation": ["LF", "FP"]},
    "orientation empty": {"PatientOrientation": ""},
    "frontal by code, lateral by description": {
        "ViewPosition": "UNKNOWN",
        "ViewCodeSequence": coded("399348003"),
        "StudyDescription": "CHEST LATERAL",
    },
    "chest by code, abdomen by description": {
        "BodyPartExamined": "UNKNOWN",
        "AnatomicRegionSequence": coded("816094009"),
        "StudyDescription": "ABDOMEN",
    },
    "view by code": {"ViewCodeSequence": coded("272479007")},
    "view by an older code": {"ViewCodeSequence": coded("R-10206", "SRT")},
    "view by the site's own code": {"ViewCodeSequence": coded("4711", "99LOCAL")},
    "region by code": {"AnatomicRegionSequence": coded("51185008")},
    "region by an older code": {"AnatomicRegionSequence": coded("T-D3000", "SNM3")},
    "region empty": {"AnatomicRegionSequence": Sequence([])},
    "a person": {"PatientSpeciesDescription": "Homo sapiens", "PatientSpeciesCodeSequence": coded("337915000")},
    "biped": {"AnatomicalOrientationType": "BIPED"},
}

REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "fluoroscopy": ({"Modality": "RF"}, r"Modality \(0008,0060\) is 'RF'; only CR or DX"),
    "secondary capture": ({"Modality": "SC"}, r"Modality \(0008,0060\) is 'SC'"),
    "for processing": ({"PresentationIntentType": "FOR PROCESSING"}, r"PresentationIntentType \(0008,0068\)"),
    "abdomen": ({"BodyPartExamined": "ABDOMEN"}, r"BodyPartExamined \(0018,0015\) is 'ABDOMEN'"),
    "left lateral": ({"ViewPosition": "LL"}, r"ViewPosition \(0018,5101\) is 'LL'"),
    "a name as view": ({"ViewPosition": "DOE JANE"}, r"ViewPosition \(0018,5101\) is a value that is not accepted here"),
    "lateral by code": ({"ViewCodeSequence": coded("399198007")}, r"ViewCodeSequence \(0054,0220\)"),
    "lateral by an older code": ({"ViewCodeSequence": coded("R-10232", "SNM3")}, r"ViewCodeSequence \(0054,0220\)"),
    "knee by code": ({"AnatomicRegionSequence": coded("72696002")}, r"AnatomicRegionSequence \(0008,2218\)"),
    "rows to the front": ({"PatientOrientation": ["A", "F"]}, r"PatientOrientation \(0020,0020\) .* lateral"),
    "rows to the back": ({"PatientOrientation": ["PF", "F"]}, r"PatientOrientation \(0020,0020\) .* lateral"),
    "on its side": ({"PatientOrientation": ["F", "R"]}, r"PatientOrientation \(0020,0020\) .* on its side"),
    "upside down": ({"PatientOrientation": ["R", "H"]}, r"PatientOrientation \(0020,0020\) .* upside down"),
    "dog": ({"PatientSpeciesDescription": "Canis lupus familiaris"}, "animal"),
    "dog by code": ({"PatientSpeciesCodeSequence": coded("448771007")}, "animal"),
    "quadruped": ({"AnatomicalOrientationType": "QUADRUPED"}, r"AnatomicalOrientationType \(0010,2210\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    image = decode(part10(film(**ACCEPTED[name])))
    unknown = tuple(keyword for keyword, value in ACCEPTED[name].items() if value == "UNKNOWN")
    assert image.missing_tags == unknown


def test_a_mirrored_film_is_noted_and_stays_as_it_is_stored() -> None:
    """PS3.3 C.7.6.1.1.1: rows that run to the patient's right. The heatmap and the PACS must show the same film."""
    usual, mirrored = (decode(part10(film(PatientOrientation=[rows, "F"]))) for rows in "LR")
    assert np.array_equal(usual.pixels, mirrored.pixels)
    note = "PatientOrientation (0020,0020) says that the film is mirrored; judged and shown as it is stored"
    assert mirrored.notes == (note, *usual.notes)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    tags, words = REFUSED[name]
    with pytest.raises(UnsuitableImage, match=words) as caught:
        decode(part10(film(**tags)))
    assert "DOE" not in str(caught.value).upper()


@pytest.mark.parametrize("missing", [("BodyPartExamined",), ("ViewPosition",), ("BodyPartExamined", "ViewPosition")])
@pytest.mark.parametrize("change", ["absent", "empty"])
def test_missing_tags_are_accepted_and_marked(missing: tuple[str, ...], change: str) -> None:
    image = decode(part10(film(**dict.fromkeys(missing, None if change == "absent" else ""))))
    assert image.missing_tags == missing
    assert image.notes[: len(missing)] == tuple(f"{keyword} missing" for keyword in missing)


def test_the_code_lists_are_those_of_the_standard() -> None:
    """PS3.16 CID 4010 (views) and CID 4009 (regions), as pydicom has them."""
    frontal = {codes.cid4010.AnteroPosterior, codes.cid4010.PosteroAnterior, codes.cid4010.Frontal}
    assert {code.value for code in frontal} == {code for code in FRONTAL_VIEW_CODES if code.isdigit()}
    chest = {codes.cid4009.Chest, codes.cid4009.ChestAndAbdomen, codes.cid4009.NeckAndChest}
    assert {code.value for code in chest} <= CHEST_REGION_CODES


# Modalities that a site may add


@pytest.mark.parametrize("modality", ["RF", "SC"])
def test_a_modality_is_accepted_where_the_caller_says_so(modality: str) -> None:
    data = part10(film(Modality=modality))
    assert decode(data, rules=HeaderRules(frozenset({"CR", "DX", modality}))).source_kind == "dicom"
    with pytest.raises(UnsuitableImage, match="only CR or DX"):
        decode(data)


def test_the_setting_of_accepted_modalities() -> None:
    assert Settings.from_environment({}).accepted_modalities == {"CR", "DX"}
    named = Settings.from_environment({"CXR_ACCEPTED_MODALITIES": "CR, dx,RF,SC"})
    assert named.accepted_modalities == {"CR", "DX", "RF", "SC"}


@pytest.mark.parametrize("text", ["", "CR", "CR,DX,MG", "CR;DX", "CR,DX,"])
def test_a_setting_that_names_other_modalities(text: str) -> None:
    with pytest.raises(SettingsError, match="must name CR,DX, and may add RF,SC"):
        Settings.from_environment({"CXR_ACCEPTED_MODALITIES": text})


DEPTHS: dict[str, Callable[[], Dataset]] = {
    "overlays of one bit": lambda: film(BitsAllocated=1, BitsStored=1, HighBit=0),
    "six bits": lambda: film(BitsStored=6, HighBit=5),
    "thirty-two bits": lambda: film(BitsAllocated=32, BitsStored=32, HighBit=31),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depths_that_no_radiograph_has(name: str) -> None:
    with pytest.raises(
        UnsuitableImage, match=r"BitsAllocated \(0028,0100\) is \d+ and BitsStored \(0028,0101\) is \d+"
    ):
        decode(part10(DEPTHS[name]()))
