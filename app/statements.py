"""The content of a report, so that the forwarder and the delivery can compare two reports under one UID.

An archive that has a UID keeps the instance that it has. If that is not the report that was to be stored, somebody
made a report in our name, or changed one of ours. The comparison covers the statements to a reader and the patient,
but not the time, or tags that an archive adds or rewrites.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

#: Numbers may differ by this: devices of one installation compute slightly different numbers, and no call depends on it.
TOLERANCE: Final = 0.001
#: A report has some kilobytes. A file that is far larger than ours is not ours, and is not read.
LARGER: Final = 2
MORE_BYTES: Final = 64 * 2**10
#: Most items of a report's sequences; ``_ITEM`` marks an item (PS3.5 section 7.5). Each item becomes an object of a kilobyte in
#: some 5 us, so that a megabyte of empty items, of 8 bytes each, would take over half a second. A report has some hundred items.
MOST_ITEMS: Final = 5000
_ITEM: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

OTHER_TEXT: Final = (
    "Another report was found under the identifier that this report should have. That one was not made by this service, or was "
    "changed since: do not rely on it."
)

_UIDS: Final = ("SeriesInstanceUID", "SOPInstanceUID")
_SAID: Final = (
    *("SOPClassUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "Modality", "SeriesDescription"),
    *("CompletionFlag", "VerificationFlag", "PreliminaryFlag"),
)
#: Content items that change with this program's version: parameters of the algorithm, and the observer's UID (PS3.16 annex D).
_VERSIONS: Final = {"111002", "121012"}
#: The values of content items, by PS3.3 C.17.3.
_VALUES: Final = ("TextValue", "DateTime", "Date", "Time", "PersonName", "UID")


def says_the_same(ours: bytes, theirs: bytes, *, under_one_uid: bool = True) -> bool:
    """Whether two Part 10 files say the same to a reader.

    Parameters
    ----------
    ours : bytes
        A report of this program's.
    theirs : bytes
        Any bytes; a file that cannot be read is another report.
    under_one_uid : bool
        False: their UIDs of instance and series may differ.
    """
    if len(theirs) > LARGER * len(ours) + MORE_BYTES or any(theirs.count(item) > MOST_ITEMS for item in _ITEM):
        return False
    expected = list(_said(dcmread(io.BytesIO(ours)), under_one_uid))
    try:
        found = list(_said(dcmread(io.BytesIO(theirs)), under_one_uid))
    except Exception:  # a stranger's bytes may raise any error
        return False
    return len(expected) == len(found) and all(map(_equal, expected, found))


def study_of(report: bytes) -> str:
    """The StudyInstanceUID of a report of ours."""
    return str(dcmread(io.BytesIO(report), specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def another(report: bytes, series: UID, instance: UID) -> bytes:
    """The same report under other UIDs, with a comment that another report was found under its own UID."""
    made = dcmread(io.BytesIO(report))
    made.SeriesInstanceUID = series
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = instance
    comment = Dataset()
    comment.RelationshipType, comment.ValueType = "CONTAINS", "TEXT"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121106", "DCM", "Comment"
    comment.ConceptNameCodeSequence, comment.TextValue = Sequence([name]), OTHER_TEXT
    made.ContentSequence = Sequence([*made.get("ContentSequence", []), comment])
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _said(report: Dataset, under_one_uid: bool) -> Iterator[tuple[object, ...]]:
    for keyword in (*_SAID, *(_UIDS if under_one_uid else ())):
        yield keyword, str(report.get(keyword, "")).strip()
    yield "films", *_films(report)
    yield "title", _code(report.get("ConceptNameCodeSequence"))
    yield from _content(report, 0)


def _films(report: Dataset) -> Iterator[tuple[str, ...]]:
    for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.ReferencedSeriesSequence:
            for film in series.ReferencedSOPSequence:
                yield (
                    *(study.StudyInstanceUID, series.SeriesInstanceUID),
                    *(film.ReferencedSOPClassUID, film.ReferencedSOPInstanceUID),
                )


def _content(item: Dataset, depth: int) -> Iterator[tuple[object, ...]]:
    for part in item.get("ContentSequence") or ():
        name = _code(part.get("ConceptNameCodeSequence"))
        if name[0] in _VERSIONS:
            continue
        yield depth, part.get("RelationshipType", ""), part.ValueType, name, *_value(part)
        yield from _content(part, depth + 1)


def _value(part: Dataset) -> tuple[object, ...]:
    if part.ValueType == "NUM":
        (measured,) = part.MeasuredValueSequence
        return float(measured.NumericValue), _code(measured.get("MeasurementUnitsCodeSequence"))
    if part.ValueType == "CODE":
        return (_code(part.ConceptCodeSequence),)
    if "ReferencedSOPSequence" in part:
        return tuple((each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID) for each in part.ReferencedSOPSequence)
    return tuple(str(part.get(keyword, "")).strip() for keyword in _VALUES)


def _code(sequence: Any) -> tuple[str, str, str]:
    if not sequence:
        return "", "", ""
    (code,) = sequence
    value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue") or ""
    return str(value), str(code.get("CodingSchemeDesignator", "")), str(code.get("CodeMeaning", ""))


def _equal(ours: tuple[object, ...], theirs: tuple[object, ...]) -> bool:
    return len(ours) == len(theirs) and all(
        math.isclose(one, other, abs_tol=TOLERANCE)
        if isinstance(one, float) and isinstance(other, float)
        else one == other
        for one, other in zip(ours, theirs, strict=True)
    )
