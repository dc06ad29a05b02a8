"""Which instance a DICOM file says it is. Only for answering its sender: identifiers go to no log, metric or record."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

#: PS3.5 section 9.1, but for leading zeros, which senders do write.
_UID = re.compile(r"[0-9.]{1,64}")
_STUDY: Final = Tag("StudyInstanceUID")
#: StudyInstanceUID stands before all that is long.
_INFLATED_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Identity:
    """UIDs of an instance; `study_instance_uid` is empty where it is absent or no UID."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID."""
    return bool(_UID.fullmatch(text))


def read_identity(data: bytes) -> Identity | None:
    """Read the UIDs of a Part 10 file, which may be damaged or cut short behind them.

    Where the data set cannot be read, its meta header (PS3.10 section 7.1) names the class and the instance too.

    Returns
    -------
    Identity or None
        None if there is no UID of the class or the instance.
    """
    if data[128:132] != b"DICM":
        return None
    meta, dataset = Dataset(), Dataset()
    try:
        stream = io.BytesIO(data)
        stream.seek(132)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 0x0002)
        dataset = _beginning(data, stream.tell(), str(meta.get("TransferSyntaxUID", "")))
    except Exception:  # hostile bytes may raise anything; what was read before is used
        pass
    sop_class = _uid(dataset, "SOPClassUID") or _uid(meta, "MediaStorageSOPClassUID")
    sop_instance = _uid(dataset, "SOPInstanceUID") or _uid(meta, "MediaStorageSOPInstanceUID")
    if not (sop_class and sop_instance):
        return None
    return Identity(sop_class, sop_instance, _uid(dataset, "StudyInstanceUID"))


def _beginning(data: bytes, start: int, syntax: str) -> Dataset:
    """The data set up to the study's UID."""

    def behind(tag: BaseTag, vr: str | None, length: int) -> bool:
        return int(tag) > int(_STUDY)

    if syntax == DeflatedExplicitVRLittleEndian:  # pydicom would inflate it all, without a limit
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], _INFLATED_BYTES)
        return read_dataset(io.BytesIO(inflated), False, True, stop_when=behind)
    wanted = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
    return read_partial(io.BytesIO(data), stop_when=behind, specific_tags=[Tag(keyword) for keyword in wanted])


def _uid(dataset: Dataset, keyword: str) -> str:
    text = str(dataset.get(keyword, "") or "").strip()
    return text if is_uid(text) else ""
