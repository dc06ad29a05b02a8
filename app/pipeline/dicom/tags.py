"""Reading tags: which tags are read at all, and how their values become text, numbers, or a refusal that names the tag."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.dataset import Dataset

from ..errors import MalformedImage

# pydicom's warnings of invalid values quote them, and a log must not hold a patient's name.
config.settings.reading_validation_mode = config.IGNORE

#: Nothing else of a data set is kept. Names and identifiers never reach this code, unless somebody wrote them into a description;
#: descriptions are compared with lists of words, and never repeated.
READ_KEYWORDS: Final = (
    "Modality PresentationIntentType BodyPartExamined ViewPosition PatientOrientation AnatomicRegionSequence ViewCodeSequence "
    "SeriesDescription ProtocolName AcquisitionDeviceProcessingDescription PerformedProcedureStepDescription StudyDescription "
    "SpecificCharacterSet "
    "PatientSpeciesDescription PatientSpeciesCodeSequence AnatomicalOrientationType "
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored "
    "HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope "
    "ModalityLUTSequence VOILUTSequence WindowCenter WindowWidth VOILUTFunction PresentationLUTShape PixelData "
    "ShutterShape ShutterLeftVerticalEdge ShutterRightVerticalEdge ShutterUpperHorizontalEdge ShutterLowerHorizontalEdge "
    "CenterOfCircularShutter RadiusOfCircularShutter VerticesOfThePolygonalShutter"
).split(" ")

#: Overlays (PS3.3 C.9.2) lie in groups of their own: whether there is one, and in which bit of the pixels' words.
OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)
OVERLAY_ROWS: Final = 0x0010
OVERLAY_BIT_POSITION: Final = 0x0102
OVERLAY_DATA: Final = 0x3000

#: Terms that a message may repeat: modalities (PS3.3 C.7.3.1.1.1), body parts (PS3.16 annex L), views and photometric
#: interpretations. Anything else might be somebody's name in the wrong tag.
SHOWN_TERMS: Final = frozenset(
    "CR DX MG CT MR US XA RF NM PT OT SC SR PX IO ES GM SM RG DR "
    "CHEST THORAX LUNG LUNGS RIB RIBCAGE RIBS ABDOMEN PELVIS SKULL HEAD NECK SPINE CSPINE TSPINE LSPINE SHOULDER CLAVICLE "
    "HUMERUS ELBOW FOREARM WRIST HAND FINGER HIP FEMUR KNEE LEG ANKLE FOOT TOE BREAST HEART STERNUM SCAPULA EXTREMITY "
    "WHOLEBODY LATERAL LL RL LLD RLD LLO RLO RAO LAO RPO LPO OBLIQUE LAT "
    "RGB MONOCHROME1 MONOCHROME2 YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT".split(" ")
) | {"PALETTE COLOR"}

#: Bytes of a tag of free text; the standard's longest has 64 characters.
MAX_TEXT_BYTES: Final = 1024


def named(keyword: str) -> str:
    """A tag in the form of messages: ``Rows (0028,0010)``."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    assert dictionary_has_tag(tag)
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def text(dataset: Dataset, keyword: str) -> str:
    """The (first) value as text, in capitals and without padding; empty where the tag is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        value = next(iter(value), None)
    return "" if value is None else str(value).strip().upper()


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """All values as text, in capitals and without padding; none where the tag is absent or empty."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    parts = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    return [str(part).strip().upper() for part in parts]


def free_text(dataset: Dataset, keyword: str) -> str:
    """All values as text, whatever their VR; empty where the tag is absent. Text beyond ``MAX_TEXT_BYTES`` is left out.

    Senders write UTF-8 and Latin-1 under any SpecificCharacterSet, and into tags that have none.
    """
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        raw = value[:MAX_TEXT_BYTES].rstrip(b"\0")
        for encoding in ("utf-8", python_encoding.get(text(dataset, "SpecificCharacterSet"), "latin-1")):
            try:
                return raw.decode(encoding)
            except (UnicodeError, LookupError):  # no Python knows all of the standard's sets
                continue
        return raw.decode("latin-1")
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return " ".join(str(part) for part in parts if isinstance(part, str))[:MAX_TEXT_BYTES]


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values as numbers; none where the tag is absent or empty.

    Raises
    ------
    MalformedImage
        A value that is no number, or not finite.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    parts = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
    try:
        found = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise MalformedImage(f"{named(keyword)} holds no number; correct it, or leave it out") from None
    if not all(map(math.isfinite, found)):
        raise MalformedImage(f"{named(keyword)} is not finite; correct it, or leave it out")
    return found


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """One whole number; `default` where the tag is absent or empty.

    Raises
    ------
    MalformedImage
        Absent without a default, several values, or no whole number.
    """
    found = numbers(dataset, keyword)
    if not found and default is not None:
        return default
    if len(found) != 1 or found[0] != int(found[0]):
        raise MalformedImage(
            f"{named(keyword)} is {'not one whole number' if found else 'absent'}; send one whole number"
        )
    return int(found[0])


def shown(value: str) -> str:
    """A tag's value for a message, if it is a term of the standard: a name in the wrong tag must never leak."""
    if not value:
        return "absent"
    return f"'{value}'" if value in SHOWN_TERMS else "a value that is not accepted here"


def listed(values: Iterable[str]) -> str:
    """Terms for a message."""
    return " or ".join(sorted(values))
