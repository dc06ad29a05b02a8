"""Which instance a DICOM file is by its header. This goes into the answer to its sender, and into a hash "
"under a key; nowhere else in clear."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from .dicom.metered import MAX_READS_OF_A_BEGINNING, MeteredStream, read_beginning, read_meta

#: PS3.5 section 9.1, except that leading zeros are allowed, since senders write them.
_UID = re.compile(r"[0-9.]{1,64}")
_CLASS: Final = 0x00080016
_INSTANCE: Final = 0x00080018
_STUDY: Final = 0x0020000D
_META_CLASS: Final = 0x00020002  # MediaStorageSOPClassUID
_META_INSTANCE: Final = 0x00020003
#: StudyInstanceUID, which comes before all long elements.
_INFLATED_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Identity:
    """UIDs of an instance; `study_instance_uid` is empty if it is absent or no UID."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID."""
    return bool(_UID.fullmatch(text))


def read_identity(data: bytes) -> Identity | None:
    """Read the UIDs of a Part 10 file, which may be damaged or cut short after them.

    If the data set cannot be read, the meta header (PS3.10 section 7.1) also names the class and the instance.

    Returns
    -------
    Identity or None
        None if there is no UID of the class or the instance.
    """
    if data[128:132] != b"DICM":
        return None
    meta, dataset = Dataset(), Dataset()
    try:
        meta = read_meta(MeteredStream(data, MAX_READS_OF_A_BEGINNING))
        tags = (_CLASS, _INSTANCE, _STUDY)
        dataset = read_beginning(data, tags, _STUDY + 1, reads=MAX_READS_OF_A_BEGINNING, inflated_bytes=_INFLATED_BYTES)
    except Exception:  # hostile bytes may raise anything; the values read before are used
        pass
    sop_class = _uid(dataset, _CLASS) or _uid(meta, _META_CLASS)
    sop_instance = _uid(dataset, _INSTANCE) or _uid(meta, _META_INSTANCE)
    if not (sop_class and sop_instance):
        return None
    return Identity(sop_class, sop_instance, _uid(dataset, _STUDY))


def _uid(dataset: Dataset, tag: int) -> str:
    """A UID from its bytes as they stand. In a file that was cut, the value is shorter than its length says, "
    "and would be another UID."""
    element: object = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement) or not element.value or len(element.value) != element.length:
        return ""
    text = element.value.decode("latin-1").rstrip("\0 ")
    return text if is_uid(text) else ""
