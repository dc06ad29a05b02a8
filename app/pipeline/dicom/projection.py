"""Which region and which view do a header's words name?

Two tags describe the film itself: BodyPartExamined and ViewPosition. If they say nothing, descriptions count: first
those of the image and the series, then those of the step and the study, which may hold several views.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from ..errors import UnsuitableImage
from .tags import SHOWN_TERMS, free_text, named, shown
from .words import Kind, Words

#: If one of these is absent, the film is accepted, a note says so, and it is counted.
EXPECTED_TAGS: Final = ("BodyPartExamined", "ViewPosition")
#: Free text, in order of trust.
DESCRIPTIONS: Final = (
    ("AcquisitionDeviceProcessingDescription", "ProtocolName", "SeriesDescription"),
    ("PerformedProcedureStepDescription", "StudyDescription"),
)

_NAMES: Final = {
    "lateral": "a lateral view",
    "view": "a special view (oblique, decubitus or the like)",
    "region": "another region",
}
_ONLY_FRONTAL: Final = "only frontal views (PA or AP) are scored"
_ONLY_CHEST: Final = "expected CHEST, or another word for it (a site may add its own: docs/dicom.md)"

Kinds = frozenset[Kind]


def require_frontal_chest_words(
    dataset: Dataset, words: Words, *, chest_coded: bool, frontal_coded: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Refuse a film whose words say that it is no frontal chest film.

    Parameters
    ----------
    dataset : Dataset
    words : Words
    chest_coded, frontal_coded : bool
        Whether a code sequence says so; then descriptions do not count for that.

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
    body_part, view = (words.kinds(free_text(dataset, keyword)) for keyword in EXPECTED_TAGS)
    _require_chest(dataset, body_part)
    _require_frontal(dataset, view)
    described = {keyword: words.kinds(free_text(dataset, keyword)) for rank in DESCRIPTIONS for keyword in rank}
    says_region = "chest" in body_part
    says_view = "frontal" in view and "lateral" not in view
    if not (says_region or chest_coded or "chest" in view):
        _require_no_other_region(described)
    if not (says_view or frontal_coded or ("frontal" in body_part and "lateral" not in body_part)):
        _require_no_other_view(described)
    missing = tuple(keyword for keyword, says in zip(EXPECTED_TAGS, (says_region, says_view), strict=True) if not says)
    return tuple(_note(dataset, keyword, view) for keyword in missing), missing


def _require_chest(dataset: Dataset, kinds: Kinds) -> None:
    """BodyPartExamined: a chest word and no other region, or nothing. Words beside a chest word do not matter."""
    tag = "BodyPartExamined"
    if kinds <= {"silent"}:
        return
    if "region" in kinds or "chest" not in kinds:
        raise UnsuitableImage(f"{_said(dataset, tag, 'region' if 'region' in kinds else None)}; {_ONLY_CHEST}")
    if other := _other_view(kinds):
        raise UnsuitableImage(f"{_said(dataset, tag, other)}; {_ONLY_FRONTAL}")


def _require_frontal(dataset: Dataset, kinds: Kinds) -> None:
    """ViewPosition: a frontal word, or nothing; CHEST alone says nothing of the view."""
    tag = "ViewPosition"
    if "region" in kinds:
        raise UnsuitableImage(f"{_said(dataset, tag, 'region')}; {_ONLY_FRONTAL}")
    if other := _other_view(kinds):
        raise UnsuitableImage(f"{_said(dataset, tag, other)}; {_ONLY_FRONTAL}")
    if "unlisted" in kinds and not kinds & {"frontal", "chest"}:
        raise UnsuitableImage(f"{_said(dataset, tag, None)}; {_ONLY_FRONTAL}")


def _other_view(kinds: Kinds) -> Kind | None:
    """The view that a tag of one film names, if it is not frontal. PA OBLIQUE is oblique; PA AND LATERAL could be either."""
    if "view" in kinds:
        return "view"
    return "lateral" if "lateral" in kinds and "frontal" not in kinds else None


def _require_no_other_region(described: dict[str, Kinds]) -> None:
    if any("chest" in kinds for kinds in described.values()):
        return
    for keyword, kinds in described.items():
        if "region" in kinds:
            raise UnsuitableImage(
                f"{named(keyword)} names another region than the chest, and no tag names the chest; "
                f"send {named('BodyPartExamined')} CHEST if this is a chest film"
            )


def _require_no_other_view(described: dict[str, Kinds]) -> None:
    """A description of several films (a series, a study) may name several views, and then says nothing of this film."""
    for rank in DESCRIPTIONS:
        for keyword in rank:
            kinds = described[keyword]
            if "frontal" not in kinds and kinds & {"lateral", "view"}:
                raise UnsuitableImage(
                    f"{named(keyword)} names {_NAMES['view' if 'view' in kinds else 'lateral']}; {_ONLY_FRONTAL}. "
                    f"Send {named('ViewPosition')} PA or AP if this is one"
                )
        if any("frontal" in described[keyword] and not described[keyword] & {"lateral", "view"} for keyword in rank):
            return


def _said(dataset: Dataset, keyword: str, kind: Kind | None) -> str:
    """A tag's value for a message if it is a term of the standard; otherwise the kind of thing that it names."""
    value = free_text(dataset, keyword).strip().upper()
    names = _NAMES.get(kind) if kind else None
    if names and value not in SHOWN_TERMS:
        return f"{named(keyword)} names {names}"
    return f"{named(keyword)} is {shown(value)}" + (f", {names}" if names else "")


def _note(dataset: Dataset, keyword: str, view: Kinds) -> str:
    if not free_text(dataset, keyword).strip():
        return f"{keyword} missing"
    if keyword == "ViewPosition" and "lateral" in view:
        return f"{keyword} names a frontal and a lateral view; taken as missing"
    return f"{keyword} says nothing; taken as missing"
