"""Which side of the patient lies at the left edge of a film, if its header says so. Nothing is guessed from pixels."""

from __future__ import annotations

from typing import Final, Literal

from .part10 import read_part10
from .tags import texts

#: usual: the patient's right lies at the left edge, as on a film that hangs before its reader. mirrored: the patient's left does.
Sides = Literal["usual", "mirrored", "unknown"]

#: By the principal directions in which rows and columns run.
_OF_DIRECTIONS: Final[dict[tuple[str, ...], Sides]] = {("L", "F"): "usual", ("R", "F"): "mirrored"}


def read_sides(data: bytes, max_pixels: int) -> Sides:
    """Read PatientOrientation (0020,0020) of a DICOM film (PS3.3 C.7.6.1.1.1).

    Parameters
    ----------
    data : bytes
        A Part 10 file that ``decode`` has decoded with the same `max_pixels`.

    Returns
    -------
    {"usual", "mirrored", "unknown"}
        Also unknown if the tag is absent or empty, or lacks the two directions of an upright frontal film.
    """
    directions = texts(read_part10(data, max_pixels).dataset, "PatientOrientation")
    # The first letter is the principal direction: LF runs to the left, and a little downwards.
    return _OF_DIRECTIONS.get(tuple(each[:1] for each in directions), "unknown")
