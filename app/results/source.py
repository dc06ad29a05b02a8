"""The header of a film -> the values that a report in the same study copies from it.

Only the attributes that are named here are read: private tags and everything else of the film stay behind. Text is
decoded strictly, by the film's own character sets, and is written as UTF-8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayRadiofluoroscopicImageStorage,
)
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS, validate_value

from app.pipeline.dicom.metered import read_header
from app.pipeline.errors import InputError, MalformedImage

#: PS3.3: type 1 in the report (A.35.3, C.17.2), which say which image in which study the report is about.
REFERENCES: Final = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
#: The storage classes of a single radiograph (PS3.4 B.5); a report here refers to no others.
RADIOGRAPH_CLASSES: Final = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        XRayRadiofluoroscopicImageStorage,
        SecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    }
)
#: Bytes of an element; pydicom makes an object of each value in it.
MAX_VALUE_BYTES: Final = 10_240
#: Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1); type 2, so an empty value is valid.
REQUIRED_EVEN_IF_EMPTY: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
#: Tags of the same modules, type 3; copied if present, since a PACS distinguishes patients of two issuers by them.
OPTIONAL: Final = ("IssuerOfPatientID", "StudyDescription", "TimezoneOffsetFromUTC")
#: Tags that say whose report it is. Without them the report would be filed with somebody else.
DECISIVE: Final = ("PatientID", "IssuerOfPatientID")

#: PS3.5 section 9.1, except that a component may have leading zeros.
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_SEXES: Final = {"M", "F", "O"}  # PS3.3 C.7.1.1
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])([0-5]\d)")  # PS3.3 C.12.1.1.8
_ESCAPE: Final = 0x1B


class UnreportableSource(InputError):
    """The film can be judged, but its header lacks or damages a tag that a report must hold; the message names the tag."""


@dataclass(frozen=True)
class Source:
    """The values that a report takes from its film.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid : UID
        The film's, without padding. Leading zeros in a component, which the standard forbids but senders write, are
        kept: a report with other UIDs would belong to another study.
    identity : Dataset
        Patient and study, every value legal. Tags of type 2 that were absent or illegal are empty.
    offset : timezone or None
        The zone of the film's dates and times, if it names one.
    orientation : tuple of str, or None
        PatientOrientation (0020,0020), if it is that of an upright frontal film: L\\F, or R\\F of a mirrored one.
    """

    sop_class_uid: UID
    sop_instance_uid: UID
    series_instance_uid: UID
    study_instance_uid: UID
    identity: Dataset
    offset: timezone | None
    orientation: tuple[str, str] | None

    @property
    def subject(self) -> tuple[str, ...]:
        """The patient and the film, from which a report's UIDs are made, so that no two films share one."""
        patient = (str(self.identity.get(keyword, "")) for keyword in DECISIVE)
        return (*patient, self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid)


def read_source(data: bytes) -> Source:
    """Read the header of a DICOM Part 10 file that the pipeline has decoded already.

    Values that the standard forbids are left empty if the standard allows that: a report that repeats an illegal
    date is itself illegal, and the PACS has the study's own values.

    Raises
    ------
    UnreportableSource
        A UID that is absent or illegal, or a PatientID that cannot be copied.
    """
    keywords = (*REFERENCES, *REQUIRED_EVEN_IF_EMPTY, *OPTIONAL, "SpecificCharacterSet", "PatientOrientation")
    try:
        header = read_header(data, keywords)
    except MalformedImage as error:  # a fault that decoding does not see, such as a patient's tag that comes twice
        raise UnreportableSource(str(error)) from error
    if any(
        len(element.value or "") > MAX_VALUE_BYTES for element in header.values() if isinstance(element, RawDataElement)
    ):
        raise UnreportableSource(
            "a name, identifier or date is longer than any film needs; correct it, or ask for application/json"
        )
    encodings = _encodings(header)
    uids = {keyword: _uid(header, keyword) for keyword in REFERENCES}
    identity = Dataset()
    for keyword in (*REQUIRED_EVEN_IF_EMPTY, *OPTIONAL):
        value = _legal(header, keyword, encodings)
        if value is None and keyword in DECISIVE:
            raise UnreportableSource(
                f"{_named(keyword)} holds a value that the standard forbids, or text outside the declared "
                "SpecificCharacterSet (0008,0005), so a report could be filed with another patient; correct the tag, or "
                "ask for application/json"
            )
        if value or keyword in REQUIRED_EVEN_IF_EMPTY:
            setattr(identity, keyword, value or "")
    return Source(
        uids["SOPClassUID"],
        uids["SOPInstanceUID"],
        uids["SeriesInstanceUID"],
        uids["StudyInstanceUID"],
        identity,
        _offset(identity.get("TimezoneOffsetFromUTC", "")),
        _orientation(header),
    )


def _uid(header: Dataset, keyword: str) -> UID:
    value = _legal(header, keyword, None)
    if not value:
        fault = "is absent or empty" if value == "" else "is not a valid UID"
        raise UnreportableSource(
            f"{_named(keyword)} {fault}, and a report must name the image and study that it belongs to; send the "
            "instance with it, or ask for application/json"
        )
    uid = UID(value)
    if keyword == "SOPClassUID" and uid not in RADIOGRAPH_CLASSES:
        raise UnreportableSource(
            f"{_named(keyword)} is not a storage class of radiographs (CR, DX, RF or Secondary Capture), and a "
            "report can refer to no other; correct the tag, or ask for application/json"
        )
    return uid


def _orientation(header: Dataset) -> tuple[str, str] | None:
    raw = header.get_item("PatientOrientation")
    value = raw.value if raw else None
    parts = [part.strip(b" \0") for part in value.split(b"\\")] if isinstance(value, bytes) else []
    return (parts[0].decode(), "F") if parts in ([b"L", b"F"], [b"R", b"F"]) else None


def _legal(header: Dataset, keyword: str, encodings: list[str] | None) -> str | None:
    """The value as text; "" if it is absent or empty, None if it is illegal."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    if tag not in header:
        return ""
    raw = header.get_item(tag).value
    if raw is None:
        return ""
    if not isinstance(raw, bytes):  # a sequence, where text belongs
        return None
    vr = dictionary_VR(tag)
    text = _decoded(raw, encodings, vr)
    if text is None:
        return None
    text = text.rstrip("\0 ") if vr == "UI" else text.strip(" \0")
    return text if not text or _is_legal(keyword, vr, text) else None


def _is_legal(keyword: str, vr: str, text: str) -> bool:
    if "\\" in text or any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        return False  # several values where there must be one, or control characters
    if keyword == "PatientSex":
        return text in _SEXES
    if keyword == "TimezoneOffsetFromUTC":
        return _OFFSET.fullmatch(text) is not None and -1200 <= int(text) <= 1400 and text != "-0000"
    if vr == "UI":
        return len(text) <= 64 and _UID.fullmatch(text) is not None
    if vr == "DA":
        return _is_date(text)
    if vr == "TM":
        return _TIME.fullmatch(text) is not None
    if vr == "PN" and any(group.count("^") > 4 for group in text.split("=")):
        return False  # PS3.5 section 6.2.1: five components
    try:
        validate_value(vr, text, config.RAISE)
    except ValueError:
        return False
    return True


def _is_date(text: str) -> bool:
    try:
        return len(text) == 8 and text.isdigit() and bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False


def _encodings(header: Dataset) -> list[str] | None:
    """Python's names of the film's character sets; None if none is declared, or one that is not in the standard."""
    value = header.get("SpecificCharacterSet")
    terms = [value] if isinstance(value, str) else [str(term) for term in value or []]
    if not any(terms) or any(term not in python_encoding for term in terms):
        return None
    # pydicom reads the default repertoire as Latin-1, but it is ASCII (PS3.5 section 6.1.2.1).
    first = ["ascii"] if terms[0] in {"", "ISO_IR 6", "ISO 2022 IR 6"} else []
    return first + convert_encodings(terms)[len(first) :]


def _decoded(raw: bytes, encodings: list[str] | None, vr: str) -> str | None:
    """Text, or None where the bytes are not text of the declared character sets."""
    if raw.isascii() and _ESCAPE not in raw:
        return raw.decode("ascii")
    if encodings is None or vr not in {"LO", "PN", "SH"}:
        return None
    try:
        if _ESCAPE not in raw:
            return raw.decode(encodings[0])
        # Component groups of a name are separate texts (PS3.5 section 6.2.1.2).
        groups = raw.split(b"=") if vr == "PN" else [raw]
        delimiters = PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS
        text = "=".join(decode_bytes(group, encodings, delimiters) for group in groups)
    except (UnicodeError, LookupError, UserWarning):  # pydicom warns when it replaces bytes that it cannot decode
        return None
    return None if "\ufffd" in text or "\x1b" in text else text


def _offset(text: str) -> timezone | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    offset = timedelta(hours=int(match[1]), minutes=int(match[2]))
    return timezone(-offset if text.startswith("-") else offset)


def _named(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"
