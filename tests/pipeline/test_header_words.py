"""Each row of words.csv does what its kind says, in every spelling, on a film that was written and read back."""

import tomllib
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from app.pipeline.dicom.part10 import read_part10
from app.pipeline.dicom.projection import DESCRIPTIONS
from app.pipeline.dicom.rules import HeaderRules
from app.pipeline.dicom.suitability import require_chest_film
from app.pipeline.dicom.tags import MAX_TEXT_BYTES
from app.pipeline.dicom.words import KINDS, rows, split, words
from app.pipeline.errors import UnsuitableImage
from app.settings import Settings, SettingsError
from tests.support.films import part10

from .films import film

ROWS = rows()
#: A film that says what it is, and one that says nothing.
PLAIN = {"BodyPartExamined": "CHEST", "ViewPosition": "PA"}
SILENT = {"BodyPartExamined": "", "ViewPosition": ""}


@cache
def _written() -> bytes:
    return part10(film())


def header(tags: dict[str, str], encoding: str = "utf-8") -> Dataset:
    """What is read of a film with these texts; CS has no accents by the standard, so its bytes are laid in."""
    dataset = read_part10(_written(), 10**6).dataset
    for keyword, value in tags.items():
        tag, raw = Tag(keyword), value.encode(encoding)
        dataset[tag] = RawDataElement(tag, "LO", len(raw), raw, 0, False, True)
    return dataset


def missing(tags: dict[str, str], rules: HeaderRules = HeaderRules(), encoding: str = "utf-8") -> tuple[str, ...]:  # noqa: B008
    return require_chest_film(header(tags, encoding), rules)[1]


def refusal(tags: dict[str, str]) -> str:
    with pytest.raises(UnsuitableImage) as caught:
        require_chest_film(header(tags), HeaderRules())
    return str(caught.value)


def spellings(word: str) -> set[str]:
    bare = "".join(one for one in unicodedata.normalize("NFD", word) if not unicodedata.combining(one))
    return {word, word.lower(), word.title(), bare, word.replace(" ", "-"), f" {word}. "}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}: {row['word']} ({row['language']})")
def test_each_word(row: dict[str, str]) -> None:
    for word in spellings(row["word"]):
        if row["kind"] == "chest":
            assert missing({**PLAIN, "BodyPartExamined": word}) == ()
        elif row["kind"] == "region":
            assert "BodyPartExamined (0018,0015)" in refusal({**PLAIN, "BodyPartExamined": f"CHEST, {word}"})
            assert "StudyDescription (0008,1030) names another region" in refusal({**SILENT, "StudyDescription": word})
        elif row["kind"] == "frontal":
            assert missing({**PLAIN, "ViewPosition": word}) == ()
        elif row["kind"] in {"lateral", "view"}:
            named = "a lateral view" if row["kind"] == "lateral" else "a special view"
            assert named in refusal({**PLAIN, "ViewPosition": word})
            assert named in refusal({**SILENT, "SeriesDescription": f"CHEST {word}"})
            assert named in refusal({**PLAIN, "BodyPartExamined": f"CHEST {word}"})
        else:
            assert missing({"BodyPartExamined": word, "ViewPosition": word}) == ("BodyPartExamined", "ViewPosition")


def test_the_list_is_in_order() -> None:
    phrases = [split(row["word"]) for row in ROWS]
    assert len(set(phrases)) == len(phrases), "a word is listed twice"
    assert {row["kind"] for row in ROWS} == set(KINDS)
    assert all(row["meaning"] and row["language"] for row in ROWS)
    languages = {language for row in ROWS for language in row["language"].split()}
    assert languages >= set("en es pt fr de it nl".split())


@pytest.mark.parametrize("part", [
    "NON GRID CHEST", "CHEST PORTABLE", "PORT CHEST", "CHEST PA", "CHESTPA", "PACHEST", "CHEST_2V", "CHEST1", "RX TORAX",
    "CHEST, 2 VIEWS", "HEART AND LUNGS", "CHEST\\THORAX", "THORAX DOE", "CHEST PA AND LAT", "Chest/Lungs", "тОРАКС CHEST",
])  # fmt: skip
def test_body_parts_that_name_the_chest(part: str) -> None:
    assert missing({**PLAIN, "BodyPartExamined": part}) == ()


@pytest.mark.parametrize(("part", "reason"), [
    ("CHEST ABDOMEN", "another region"), ("CHESTABDOMEN", "another region"), ("NECKCHEST", "another region"),
    ("CHEST RIB", "another region"), ("THORAX RIBS", "another region"), ("THORACIC SPINE", "another region"),
    ("T-SPINE", "another region"), ("NON-CHEST", "another region"), ("CHEST\\ABDOMEN", "another region"),
    ("CHEST LAT", "a lateral view"), ("CHESTLAT", "a lateral view"), ("chestLat", "a lateral view"),
    ("CHEST PA OBLIQUE", "a special view"), ("THORACIC", "not accepted"), ("HEART", "'HEART'"), ("FACE", "not accepted"),
    ("PA", "not accepted"), ("DOE", "not accepted"), ("OTHER DOE", "not accepted"), ("CHESTDOE", "not accepted"),
])  # fmt: skip
def test_body_parts_that_are_refused(part: str, reason: str) -> None:
    message = refusal({**PLAIN, "BodyPartExamined": part})
    assert reason in message
    assert "BodyPartExamined (0018,0015)" in message
    assert "DOE" not in message


@pytest.mark.parametrize("view", [
    "P.A.", "P/A", "A-P", "POSTERO-ANTERIOR", "posteroanterior", "AP SUPINE", "AP DECUBITO SUPINO", "PA CHEST", "THORAX FACE",
    "AP\\PA", "D.V.",
])  # fmt: skip
def test_views_that_are_frontal(view: str) -> None:
    assert missing({**PLAIN, "ViewPosition": view}) == ()


@pytest.mark.parametrize(("view", "reason"), [
    ("LARGE LATERAL", "a lateral view"), ("L LAT", "a lateral view"), ("LATERO-LATERAL", "a lateral view"),
    ("LEFT LATERAL DECUBITUS", "a special view"), ("DECUBITO LATERAL DERECHO", "a special view"),
    ("AP DECUBITUS", "a special view"), ("PA OBLIQUE", "a special view"), ("AP LORDOTIC", "a special view"),
    ("AP HAND", "another region"), ("LEFT", "not accepted"), ("DOE^JANE", "not accepted"),
])  # fmt: skip
def test_views_that_are_refused(view: str, reason: str) -> None:
    message = refusal({**PLAIN, "ViewPosition": view})
    assert reason in message
    assert "ViewPosition (0018,5101)" in message
    assert "DOE" not in message


@pytest.mark.parametrize(
    "value", ["UNKNOWN", "UNK", "NONE", "N/A", "-", "?", "...", "OTHER", "GENERICA", "Unspecified", "0", "\0"]
)
def test_what_says_nothing_is_missing(value: str) -> None:
    tags = {"BodyPartExamined": value, "ViewPosition": value}
    notes, missed = require_chest_film(header(tags), HeaderRules())
    assert missed == ("BodyPartExamined", "ViewPosition")
    assert all(note.startswith(keyword) for note, keyword in zip(notes, missed, strict=True))
    assert "says nothing; taken as missing" in notes[0] or value == "\0"


def test_a_view_that_could_be_either_is_missing() -> None:
    notes, missed = require_chest_film(header({**PLAIN, "ViewPosition": "PA AND LAT"}), HeaderRules())
    assert (notes, missed) == (
        ("ViewPosition names a frontal and a lateral view; taken as missing",),
        ("ViewPosition",),
    )


# Descriptions

EACH = [keyword for rank in DESCRIPTIONS for keyword in rank]


@pytest.mark.parametrize("keyword", EACH)
@pytest.mark.parametrize("view", ["", "UNKNOWN", "PA AND LAT", "CHEST"])
def test_a_description_counts_where_the_view_says_nothing(keyword: str, view: str) -> None:
    tags = {**PLAIN, "ViewPosition": view, keyword: "Doe^Jane CHEST lateral"}
    message = refusal(tags)
    assert keyword in message
    assert "a lateral view" in message
    assert "doe" not in message.lower()
    assert missing({**tags, "ViewPosition": "PA"}) == ()
    assert missing({**tags, "BodyPartExamined": "CHEST PA"}) == ("ViewPosition",)


@pytest.mark.parametrize("keyword", EACH)
def test_a_description_of_several_views_says_nothing(keyword: str) -> None:
    for several in ("Xray Chest PA and Lateral", "CHEST 2V FRONTAL/LATERAL", "CHEST PA, LAT, OBLIQUES", "CHEST"):
        assert missing({**SILENT, keyword: several}) == ("BodyPartExamined", "ViewPosition")


@pytest.mark.parametrize(("tags", "accepted"), [
    ({"SeriesDescription": "LAT", "StudyDescription": "CHEST PA"}, False),
    ({"SeriesDescription": "PA", "StudyDescription": "CHEST LATERAL"}, True),
    ({"AcquisitionDeviceProcessingDescription": "NA_chestLAT_auto", "StudyDescription": "CHEST PA AND LATERAL"}, False),
    ({"AcquisitionDeviceProcessingDescription": "NA_chestAP_auto", "SeriesDescription": "LAT"}, False),
    ({"ProtocolName": "PA AND LAT", "StudyDescription": "CHEST LATERAL"}, False),
])  # fmt: skip
def test_the_narrower_description_is_believed_first(tags: dict[str, str], accepted: bool) -> None:
    if accepted:
        assert missing({**SILENT, **tags}) == ("BodyPartExamined", "ViewPosition")
    else:
        assert "a lateral view" in refusal({**SILENT, **tags})


def test_a_description_of_another_region_counts_where_nothing_names_the_chest() -> None:
    assert "StudyDescription (0008,1030) names another region" in refusal(
        {**SILENT, "StudyDescription": "Xray Abdomen KUB"}
    )
    for tags in (
        {"StudyDescription": "CHEST AND ABDOMEN"},
        {"StudyDescription": "KUB", "SeriesDescription": "THORAX"},
        {"StudyDescription": "KUB", "ViewPosition": "CHEST AP"},
        {"StudyDescription": "KUB", "BodyPartExamined": "CHEST"},
        {"StudyDescription": "HEAD FIRST, C-ARM"},
    ):
        missing({**SILENT, **tags})


def test_only_the_beginning_of_a_description_is_read() -> None:
    tags = {**PLAIN, "ViewPosition": ""}
    assert "a lateral view" in refusal({**tags, "SeriesDescription": "x " * 100 + "LATERAL"})
    assert missing({**tags, "SeriesDescription": "x " * (MAX_TEXT_BYTES // 2) + "LATERAL"}) == ("ViewPosition",)


@pytest.mark.parametrize(("charset", "encoding", "part"), [
    ("ISO_IR 192", "utf-8", "TÓRAX"), ("", "utf-8", "TÓRAX"), ("", "latin-1", "TÓRAX"), ("ISO_IR 100", "latin-1", "PULMÃO"),
    ("ISO_IR 192", "latin-1", "PULMÃO"), ("ISO_IR 144", "iso8859-5", "ГРУДНАЯ КЛЕТКА"), ("ISO_IR 101", "iso8859-2", "PŁUCA"),
    ("no such set", "latin-1", "TÓRAX"), ("ISO 2022 IR 58", "latin-1", "TÓRAX"),
])  # fmt: skip
def test_accents_in_the_encodings_that_senders_use(charset: str, encoding: str, part: str) -> None:
    assert missing({**PLAIN, "SpecificCharacterSet": charset, "BodyPartExamined": part}, encoding=encoding) == ()


def test_the_list_is_packaged() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["app.pipeline.dicom"] == ["words.csv"]


# A site's own words


def test_a_site_adds_and_removes_words() -> None:
    rules = Settings.from_environment(
        {"CXR_HEADER_WORDS": "chest+TRX, lateral+perf,chest-lung,region-ABDOMEN,"}
    ).header_rules
    assert missing({**PLAIN, "BodyPartExamined": "Trx"}, rules) == ()
    assert missing({**PLAIN, "BodyPartExamined": "CHEST ABDOMEN"}, rules) == ()
    for tags in ({"BodyPartExamined": "LUNG"}, {"ViewPosition": "PERF"}):
        with pytest.raises(UnsuitableImage):
            require_chest_film(header({**PLAIN, **tags}), rules)
    with pytest.raises(UnsuitableImage):
        require_chest_film(header({**PLAIN, "BodyPartExamined": "TRX"}), HeaderRules())


def test_a_word_moves_to_another_list() -> None:
    moved = words(("view-DECUBITUS", "silent+DECUBITUS"))
    assert moved.kinds("AP DECUBITUS") == {"frontal", "silent"}
    assert words(("silent+DECUBITUS", "view-DECUBITUS")).kinds("DECUBITUS") == {"silent"}


@pytest.mark.parametrize(("change", "reason"), [
    ("TRX", "is not KIND+WORD or KIND-WORD, where KIND is chest, region, frontal, lateral, view or silent"),
    ("thorax+TRX", "is not KIND"), ("chest+", "is not KIND"), ("chest+123", "is not KIND"), ("chest TRX", "is not KIND"),
    ("chest-TRX", "removes a word that is not in the list chest"), ("chest-ABDOMEN", "is not in the list chest"),
    ("frontal+LL", "adds a word that is in the list lateral; remove it there too"),
])  # fmt: skip
def test_changes_that_make_no_sense_stop_the_start(change: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"CXR_HEADER_WORDS": change})
    assert str(caught.value).startswith(f"CXR_HEADER_WORDS: '{change}' ")
    assert reason in str(caught.value)
