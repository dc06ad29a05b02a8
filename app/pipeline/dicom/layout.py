"""How pixels lie in their container (PS3.3 C.7.6.3.1); read and checked before any pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import MalformedImage, UnsuitableImage
from .tags import integer, named, shown, text

READ_BITS_STORED: Final = range(8, 17)
#: Photometric interpretations by samples a pixel. Three channels must turn out to be one grey.
READ_PHOTOMETRIC: Final = {
    1: frozenset({"MONOCHROME1", "MONOCHROME2"}),
    3: frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}),
}


@dataclass(frozen=True)
class PixelLayout:
    """Size and bits of a film of one frame.

    Attributes
    ----------
    rows, columns : int
        Pixels.
    bits_allocated : {8, 16}
    bits_stored : int
        8 to 16.
    high_bit : int
        The highest of the stored bits; those above and below may hold overlays that are declared.
    signed : bool
        Two's complement (PixelRepresentation 1).
    monochrome1 : bool
        Low values are bright (PS3.3 C.7.6.3.1.2).
    colour : str
        PhotometricInterpretation (0028,0004) of a film of three samples a pixel, which may still be grey; otherwise empty.
    planar : bool
        Native samples lie plane by plane (PlanarConfiguration (0028,0006)).
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    monochrome1: bool
    colour: str = ""
    planar: bool = False

    @classmethod
    def of(cls, dataset: Dataset) -> PixelLayout:
        """Read the layout.

        Raises
        ------
        MalformedImage
            A tag is absent or contradicts another.
        UnsuitableImage
            Kinds of colour that no radiograph has, several frames, or bits that no radiograph has.
        """
        if "PixelData" not in dataset:
            raise MalformedImage("PixelData (7FE0,0010) is absent; send the instance with its pixels")
        photometric = text(dataset, "PhotometricInterpretation")
        samples = integer(dataset, "SamplesPerPixel", 1)
        if photometric not in READ_PHOTOMETRIC.get(samples, ()):
            raise UnsuitableImage(
                f"PhotometricInterpretation (0028,0004) is {shown(photometric)} with {samples} samples a pixel; "
                "a radiograph is MONOCHROME1 or MONOCHROME2 with one. Send the original, not a colour copy"
            )
        if integer(dataset, "NumberOfFrames", 1) != 1:
            raise UnsuitableImage("NumberOfFrames (0028,0008) is not 1; send one film per instance")
        for keyword in ("Rows", "Columns"):
            if integer(dataset, keyword, 0) <= 0:
                raise MalformedImage(f"{named(keyword)} is absent or zero; send the film's own value")
        allocated, stored = integer(dataset, "BitsAllocated"), integer(dataset, "BitsStored")
        if allocated not in {8, 16} or stored not in READ_BITS_STORED:
            raise UnsuitableImage(
                f"BitsAllocated (0028,0100) is {allocated} and BitsStored (0028,0101) is {stored}; "
                "films of 8 to 16 bits stored in 8 or 16 are read"
            )
        if samples == 3 and (allocated, stored) != (8, 8):
            raise UnsuitableImage(
                f"{named('PhotometricInterpretation')} is {shown(photometric)} with {stored} bits a sample; "
                "grey films saved in colour are read with 8. Send the original"
            )
        high_bit = integer(dataset, "HighBit", stored - 1)
        if not stored - 1 <= high_bit < allocated:
            raise MalformedImage(
                f"HighBit (0028,0102) is {high_bit}, but {stored} bits stored in {allocated} need "
                f"{stored - 1} to {allocated - 1}; correct it"
            )
        representation = integer(dataset, "PixelRepresentation", 0)
        if representation not in {0, 1}:
            raise MalformedImage("PixelRepresentation (0028,0103) is neither 0 (unsigned) nor 1 (signed); correct it")
        return cls(
            integer(dataset, "Rows"),
            integer(dataset, "Columns"),
            allocated,
            stored,
            high_bit,
            representation == 1,
            photometric == "MONOCHROME1",
            photometric if samples == 3 else "",
            samples == 3 and integer(dataset, "PlanarConfiguration", 0) == 1,
        )

    @property
    def samples(self) -> int:
        """Samples a pixel."""
        return 3 if self.colour else 1

    @property
    def lowest(self) -> int:
        """The lowest value that can be stored."""
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The highest value that can be stored."""
        return self.lowest + (1 << self.bits_stored) - 1

    def place_of(self, precision: int) -> tuple[int, int]:
        """How many bits of a word are a pixel's, and how many lie below them; `precision` as ``values_of`` takes it."""
        if precision <= self.high_bit:
            return min(precision, self.bits_stored), 0
        return self.bits_stored, self.high_bit + 1 - self.bits_stored

    def is_sign_extended(self, words: NDArray[np.unsignedinteger], precision: int) -> bool:
        """Whether all bits outside the stored ones repeat the sign, as many senders of signed values write them."""
        bits, below = self.place_of(precision)
        if not self.signed or below:
            return False
        signs = words >> (bits - 1)
        return bool(((signs == 0) | (signs == (1 << (precision - bits + 1)) - 1)).all())

    def values_of(self, words: NDArray[np.unsignedinteger], precision: int) -> NDArray[np.integer]:
        """Words of the container -> stored values. The words of a colour film are its grey already.

        Parameters
        ----------
        words : ndarray, shape (rows, columns), uint8 or uint16
        precision : int
            Bits that a word can hold: `bits_allocated` for native pixels, otherwise those of the code stream. A code stream of
            fewer bits than `high_bit` needs holds only the stored bits, without those around them.

        Returns
        -------
        ndarray, shape (rows, columns), int32 if signed, else the type of `words`
        """
        bits, below = self.place_of(precision)
        values = (words >> below) & ((1 << bits) - 1)
        if not self.signed:
            return values
        sign = 1 << (bits - 1)
        return (values.astype(np.int32) ^ sign) - sign
