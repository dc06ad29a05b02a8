"""The decoded film, and the limits that hold for every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ImageTooLarge, MalformedImage, UnsuitableImage
from .exposed_field import ExposedField, Polygon, describe, find_field

INPUT_SIDE: Final = 224  # pixels: the side of the network's input

SourceKind = Literal["png", "jpeg", "dicom"]

DEFAULT_MAX_PIXELS: Final = 40_000_000  # a 43 cm plate at 70 um is 37.7 million
#: Fewer pixels than the network takes cannot be a diagnostic film, and would have to be invented.
MIN_SIDE: Final = INPUT_SIDE
MAX_ASPECT_RATIO: Final = 2.0


@dataclass(frozen=True)
class DecodedImage:
    """One film, ready to be resized.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns), float32, in [0, 1]
        The whole picture; 0 is black (least exposed tissue dark, as MONOCHROME2).
    field : ExposedField
        The part of it that is judged.
    source_kind : {"png", "jpeg", "dicom"}
    notes : tuple of str
        How the pixels were made, for a reader: which window, what was missing.
    missing_tags : tuple of str
        Absent DICOM keywords that would say that it is a frontal chest film.
    presentation : str
        How a DICOM film is shown: window with its numbers, LUT with its digest, or a substitute, and whether it is
        inverted. One of the notes; empty for PNG and JPEG.
    """

    pixels: NDArray[np.float32]
    field: ExposedField
    source_kind: SourceKind
    notes: tuple[str, ...] = ()
    missing_tags: tuple[str, ...] = ()
    presentation: str = ""

    @classmethod
    def of(
        cls,
        pixels: NDArray[np.float32],
        source_kind: SourceKind,
        notes: tuple[str, ...] = (),
        missing_tags: tuple[str, ...] = (),
        shutters: tuple[Polygon, ...] = (),
        presentation: str = "",
    ) -> DecodedImage:
        """Make an image: find its exposed field, and note it if it is not the whole picture."""
        field = find_field(pixels, shutters)
        return cls(pixels, field, source_kind, (*notes, *describe(field, shutters)), missing_tags, presentation)


def require_usable_size(rows: int, columns: int, max_pixels: int) -> None:
    """Check a header's size before its pixels are decompressed.

    Raises
    ------
    ImageTooLarge, UnsuitableImage
    """
    if rows * columns > max_pixels:
        raise ImageTooLarge(
            f"the image claims {columns} x {rows} pixels; the limit is {max_pixels:,} in all. Reduce it, or raise the limit"
        )
    if min(rows, columns) < MIN_SIDE:
        raise UnsuitableImage(
            f"the image is {columns} x {rows} pixels; a chest film needs at least {MIN_SIDE} on each side. "
            "Send the original, not a thumbnail"
        )
    if max(rows, columns) > MAX_ASPECT_RATIO * min(rows, columns):
        raise UnsuitableImage(
            f"the image is {columns} x {rows} pixels, longer than {MAX_ASPECT_RATIO:g} times its width; "
            "this is not the shape of a frontal chest film"
        )


def require_finite_unit_range(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Refuse values that are no numbers, and clip those that rounding left outside [0,1].

    Raises
    ------
    MalformedImage
    """
    if not np.isfinite(pixels).all():
        raise MalformedImage("the pixels are not all finite numbers after the LUTs or the window were applied")
    if float(pixels.max()) == float(pixels.min()):
        raise UnsuitableImage("all pixels have one value (a blank image, or a window that flattens everything)")
    return np.clip(pixels, 0.0, 1.0)
