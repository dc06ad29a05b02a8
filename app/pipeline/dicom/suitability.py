"""Is it a frontal chest radiograph of a person? The tags are checked before any pixel."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from ..errors import UnsuitableImage
from .projection import require_frontal_chest_words
from .rules import HeaderRules
from .tags import listed, named, shown, text

#: Codes by (designator, value); SNOMED's older identifiers (SRT, SNM3) are still sent. PS3.16 CID 4010, frontal ones.
FRONTAL_VIEW_CODES: Final = frozenset(
    {"399348003", "272479007", "399033003", "R-10206", "R-40888", "R-10214", "R-10202"}
)
#: PS3.16 CID 4009: chest (two codes of SNOMED's), lungs, chest with neighbours.
CHEST_REGION_CODES: Final = frozenset(
    {"816094009", "51185008", "39607008", "416550000", "417437006", "T-D3000", "T-28000", "R-FAB55", "R-FAB52"}
)
_SNOMED: Final = frozenset({"SCT", "SRT", "SNM3", "99SDM"})
_PEOPLE: Final = frozenset({"HOMO SAPIENS", "HUMAN", "337915000", "L-85003"})


def require_chest_film(dataset: Dataset, rules: HeaderRules) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Refuse a film whose tags say that it is no frontal chest radiograph of a person.

    Parameters
    ----------
    dataset : Dataset
    rules : HeaderRules

    Returns
    -------
    notes : tuple of str
    missing : tuple of str
        Those of ``EXPECTED_TAGS`` that are absent, empty, or say nothing.

    Raises
    ------
    UnsuitableImage
        The message names the tag.
    """
    modality = text(dataset, "Modality")
    if modality not in rules.modalities:
        raise UnsuitableImage(
            f"{named('Modality')} is {shown(modality)}; only {listed(rules.modalities)} films are scored"
        )
    if text(dataset, "PresentationIntentType") == "FOR PROCESSING":  # PS3.3 C.8.11.1: no presentation is defined for it
        raise UnsuitableImage(f"{named('PresentationIntentType')} is FOR PROCESSING; send the FOR PRESENTATION film")
    _require_person(dataset)
    chest_coded = _require_codes(
        dataset, "AnatomicRegionSequence", CHEST_REGION_CODES, "is of another region than the chest; send chest films"
    )
    frontal_coded = _require_codes(
        dataset, "ViewCodeSequence", FRONTAL_VIEW_CODES, "is of a view that is not frontal; send PA or AP films"
    )
    notes, missing = require_frontal_chest_words(
        dataset, rules.words, chest_coded=chest_coded, frontal_coded=frontal_coded
    )
    mirrored = _require_upright_frontal(dataset)
    return (*notes, *mirrored), missing


def _codes(dataset: Dataset, keyword: str) -> list[str]:
    """Code values of SNOMED in a code sequence (PS3.3 section 8); a site's own codes say nothing here."""
    return [
        text(item, "CodeValue")
        for item in dataset.get(keyword) or ()
        if text(item, "CodingSchemeDesignator") in _SNOMED
    ]


def _require_codes(dataset: Dataset, keyword: str, accepted: frozenset[str], otherwise: str) -> bool:
    """Whether there is an accepted code. Other codes are refused; no code is fine."""
    codes = _codes(dataset, keyword)
    if codes and not accepted.intersection(codes):
        raise UnsuitableImage(f"{named(keyword)} {otherwise}")
    return bool(codes)


def _require_upright_frontal(dataset: Dataset) -> tuple[str, ...]:
    """PatientOrientation (PS3.3 C.7.6.1.1.1): the directions in which rows and columns run, the principal letter first.

    A mirrored film is noted and not mirrored back: the heatmap, the Secondary Capture and the viewer must lie as the film does
    in the PACS, no finding has a side, and the network was trained on mirror images too.
    """
    value = dataset.get("PatientOrientation") or ()
    directions = [str(part).strip().upper()[:1] for part in ([value] if isinstance(value, str) else value)]
    rows, columns = [*directions, "", ""][:2]
    tag = named("PatientOrientation")
    if {rows, columns} & {"A", "P"}:
        raise UnsuitableImage(
            f"{tag} says that rows or columns run between front and back: a lateral view, and only frontal ones are scored"
        )
    if rows in {"F", "H"} or columns in {"H", "L", "R"}:
        raise UnsuitableImage(
            f"{tag} says that the film lies on its side or upside down; turn it so that the head is on top"
        )
    return (f"{tag} says that the film is mirrored; judged and shown as it is stored",) if rows == "R" else ()


def _require_person(dataset: Dataset) -> None:
    species = [text(dataset, "PatientSpeciesDescription"), *_species_codes(dataset)]
    if any(one and one not in _PEOPLE for one in species):
        raise UnsuitableImage("PatientSpecies (0010,2201 or 0010,2202) is set: this is a film of an animal")
    if text(dataset, "AnatomicalOrientationType") == "QUADRUPED":  # PS3.3 C.7.6.1.1.1
        raise UnsuitableImage(f"{named('AnatomicalOrientationType')} is QUADRUPED: this is a film of an animal")


def _species_codes(dataset: Dataset) -> list[str]:
    return [text(item, "CodeValue") for item in dataset.get("PatientSpeciesCodeSequence") or ()]
