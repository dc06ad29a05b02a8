"""Lookup tables of the modality and VOI LUT sequences (PS3.3 C.11.1.1 and C.11.2.1.1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import MalformedImage
from .tags import named, numbers

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """One item of a LUT sequence.

    Attributes
    ----------
    first : int
        The first value mapped; those outside the table get its first or last entry.
    entries : ndarray, shape (N,), float64, in [0, full_scale]
    bits : int
        Bits in the descriptor, 8 to 16.
    """

    first: int
    entries: FloatArray
    bits: int

    @property
    def full_scale(self) -> float:
        """The full scale of the bits in the descriptor."""
        return 2.0**self.bits - 1.0

    @property
    def digest(self) -> str:
        """Digest of the entries, the first value and the bits, so that a person who compares two films sees "
        "whether they have the same LUT."""
        words = np.array([self.first, self.bits, *self.entries], "<i4")
        return f"SHA-256 {hashlib.sha256(words.tobytes()).hexdigest()[:16]}"

    def look_up(self, values: FloatArray) -> FloatArray:
        """The entries of `values`, in an array of their shape."""
        index = np.clip(np.rint(values) - self.first, 0, self.entries.size - 1).astype(np.intp)
        return np.asarray(self.entries[index])


def read_table(item: Dataset, signed: bool, little_endian: bool) -> Table:
    """Read a table.

    Parameters
    ----------
    item : Dataset
        LUTDescriptor (0028,3002): number of entries (0 is 65,536), first value mapped, bits an entry; LUTData (0028,3006).
    signed : bool
        Whether the first value mapped is two's complement; its VR (US or SS) may be missing or wrong.
    little_endian : bool
        The byte order of LUTData if it is bytes.

    Raises
    ------
    MalformedImage
    """
    descriptor = [int(value) for value in numbers(item, "LUTDescriptor")]
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise MalformedImage(
            f"{named('LUTDescriptor')} is not three numbers with 8 to 16 bits an entry; correct the LUT"
        )
    count, first, bits = (descriptor[0] & 0xFFFF) or 65_536, descriptor[1] & 0xFFFF, descriptor[2]
    if signed and first >= 32_768:
        first -= 65_536
    entries = _entries(item.get("LUTData"), count, little_endian)
    return Table(first, np.minimum(entries.astype(np.float64), 2.0**bits - 1.0), bits)


def _entries(data: object, count: int, little_endian: bool) -> NDArray[np.unsignedinteger]:
    """LUTData in any of its forms: words in bytes (OW), single bytes (8-bit entries packed), or numbers (US)."""
    table: NDArray[np.unsignedinteger] | None = None
    if isinstance(data, bytes):
        if len(data) in {count, count + 1}:
            table = np.frombuffer(data, np.uint8)
        elif len(data) >= 2 * count:
            table = np.frombuffer(data[: 2 * count], "<u2" if little_endian else ">u2")
    elif data is not None:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    if table is None or table.size < count:
        raise MalformedImage(
            f"{named('LUTData')} has fewer entries than {named('LUTDescriptor')} states; correct the LUT"
        )
    return table[:count]
