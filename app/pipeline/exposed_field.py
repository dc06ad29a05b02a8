"""Which part of a picture is film? This stage finds borders, bars, collimation and shutters, and leaves them out.

A border says nothing of the patient, but a gate that looks at statistics of the whole picture takes it for tampering.
The stage lies between decoding and resizing, in a request and in a fit alike:

    pixels -> find_field -> ExposedField -> cut_out -> pixels of the field -> to_tensor

It leaves out parts without film: those behind a shutter of the header (PS3.3 C.7.6.11), margins of one grey, margins
behind a straight edge (collimation), which may be turned by a few degrees, and corners of one grey around a round or
many-sided film. If it is not sure, it leaves nothing out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .corners import rounded_outline
from .margins import straight_margin, uniform_margin
from .mirror import block_means, eroded, mirrored

Pixels = NDArray[np.float32]
Point = tuple[float, float]
#: Corners (column, row) of a region, in pixels of the whole picture.
Polygon = tuple[Point, ...]

#: The name of this stage in a bundle's manifest; a gate that was fitted without it, or with another, judges other pixels.
EXPOSED_FIELD: Final = "shutters, margins of one grey, straight edges up to 4.5 degrees (1)"

#: How the note of a field begins.
LEFT_OUT: Final = "left out, since it is not of the exposed field"

#: Share of the picture. If less would remain, nothing is left out.
LEAST_OF_THE_PICTURE: Final = 0.25
#: Outlines: a header has at most one shutter of each shape, and straight edges make one outline.
MOST_OUTLINES: Final = 8
#: Range from the 1st to the 99th percentile of a picture. Below it tolerances shrink in proportion; real films have more.
USUAL_RANGE: Final = 0.4
#: Straight edges are looked for in a picture of this many pixels a side, or up to twice as many.
PREVIEW_SIDE: Final = 256
#: Pixels a side in which an outline is checked for whether it holds a whole rectangle.
COARSE_SIDE: Final = 128
#: Pixels of the preview by which an edge is moved inwards, since a collimator has a penumbra.
INSET: Final = 2.5
#: A field that is filled is reduced to this many pixels at its shorter side, or up to twice as many. The network takes 224.
FILLED_SIDE: Final = 448


@dataclass(frozen=True)
class ExposedField:
    """The part of a picture that is judged.

    Attributes
    ----------
    rows, columns : int
        The size of the whole picture.
    top, left, bottom, right : int
        The smallest rectangle around the field, half open, in pixels of the whole picture.
    outlines : tuple of Polygon
        The field is the part of the rectangle within all of these; there are none if it is the whole rectangle.
    """

    rows: int
    columns: int
    top: int
    left: int
    bottom: int
    right: int
    outlines: tuple[Polygon, ...] = ()

    @classmethod
    def whole(cls, rows: int, columns: int) -> ExposedField:
        """The field that is the whole picture."""
        return cls(rows, columns, 0, 0, rows, columns)

    def as_json(self) -> dict[str, object]:
        """The field for another process, or a caller."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ExposedField:
        """The field from another process, which may have been taken over.

        Raises
        ------
        ValueError, KeyError, TypeError
            This is no field.
        """
        edges = [told[name] for name in ("rows", "columns", "top", "left", "bottom", "right")]
        # Checked by type: JSON may have Infinity here, for which int() raises another error; and int() accepts
        # fractions and words.
        if not all(type(edge) is int for edge in edges):
            raise ValueError("an edge that is no whole number")
        rows, columns, top, left, bottom, right = edges
        try:
            outlines = tuple(tuple((float(x), float(y)) for x, y in outline) for outline in told["outlines"])
        except OverflowError as error:
            raise ValueError("impossible outlines") from error
        corners = [coordinate for outline in outlines for corner in outline for coordinate in corner]
        if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
            raise ValueError("an impossible field")
        if len(outlines) > MOST_OUTLINES or not np.isfinite(corners).all() or any(len(o) < 3 for o in outlines):
            raise ValueError("impossible outlines")
        return cls(rows, columns, top, left, bottom, right, outlines)

    @property
    def is_whole(self) -> bool:
        """Whether the field is the whole picture."""
        return self == ExposedField.whole(self.rows, self.columns)

    @property
    def share(self) -> float:
        """The rectangle's share of the picture's area."""
        return (self.bottom - self.top) * (self.right - self.left) / (self.rows * self.columns)

    def within(self, top: int, left: int, bottom: int, right: int) -> ExposedField:
        """The field with a smaller rectangle, given in pixels of this one."""
        return ExposedField(
            self.rows,
            self.columns,
            self.top + top,
            self.left + left,
            self.top + bottom,
            self.left + right,
            self.outlines,
        )


def find_field(pixels: Pixels, shutters: Sequence[Polygon] = ()) -> ExposedField:
    """Find the exposed field.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns), float32, in [0, 1]
    shutters : sequence of Polygon
        Regions of the header, outside of which there is no film.

    Returns
    -------
    ExposedField
        The whole picture if nothing is found, or if too little would remain.
    """
    rows, columns = pixels.shape
    field = whole = ExposedField.whole(rows, columns)
    for shutter in shutters:
        field = _bounded(field, shutter)
    contrast = _contrast(pixels)
    field = _without_uniform_margins(pixels, field, contrast)
    edges = _straight_edges(pixels, field, contrast)
    if edges is not None:
        field = _without_uniform_margins(pixels, _bounded(field, edges), contrast)
    if not field.outlines:  # otherwise there is a shutter or a slanted edge, which leaves dark corners itself
        corners = _rounded(pixels, field, contrast)
        field = field if corners is None else _bounded(field, corners)
    return field if field.share >= LEAST_OF_THE_PICTURE else whole


def cut_out(pixels: Pixels, field: ExposedField) -> Pixels:
    """The pixels of the field.

    The part of the rectangle that is not in the field is filled with the mirror image of the field: a fill of one
    grey would be a border again.

    Parameters
    ----------
    pixels : ndarray, shape (field.rows, field.columns), float32, in [0, 1]

    Returns
    -------
    ndarray, shape (rows, columns), float32, in [0, 1]
        A view of `pixels` if nothing is filled; otherwise reduced to less than twice ``FILLED_SIDE`` at the shorter side.
    """
    inside = pixels[field.top : field.bottom, field.left : field.right]
    if not field.outlines:
        return inside
    step = max(1, min(inside.shape) // FILLED_SIDE)
    reduced = block_means(inside, step)
    seen = np.ones(reduced.shape, bool)
    for outline in field.outlines:
        corners = [((x - field.left) / step, (y - field.top) / step) for x, y in outline]
        seen &= _rasterised(corners, reduced.shape)
    # Pixels on an outline are partly dead; nothing is known of the pixels beyond the rectangle.
    return mirrored(reduced, eroded(seen, corners=True))


#: The sides of a picture, each as lines from the edge inwards; views, without a copy.
_SIDES: Final[tuple[Callable[[Pixels], Pixels], ...]] = (
    lambda picture: picture,
    lambda picture: picture.T,
    lambda picture: picture[::-1],
    lambda picture: picture.T[::-1],
)


def describe(field: ExposedField, shutters: Sequence[Polygon]) -> tuple[str, ...]:
    """Notes on the parts that are left out; none if that is nothing."""
    if field.is_whole:
        return ("the shutter of the header would leave too little of the film: not applied",) if shutters else ()
    sides = {
        "top": field.top,
        "left": field.left,
        "bottom": field.rows - field.bottom,
        "right": field.columns - field.right,
    }
    named = ", ".join(f"{width} at the {side}" for side, width in sides.items() if width)
    parts = [f"{named} (pixels)"] if named else []
    parts += ["what lies beyond slanted or round edges"] if field.outlines else []
    return (f"{LEFT_OUT}: {', and '.join(parts)}",)


def _contrast(pixels: Pixels) -> float:
    """The share of the usual range that a faint picture has; 1 for any other."""
    steps = (max(1, side // 64) for side in pixels.shape)
    low, high = np.percentile(pixels[tuple(slice(None, None, step) for step in steps)], (1, 99))
    return float(np.clip((high - low) / USUAL_RANGE, 1e-6, 1.0))


def _without_uniform_margins(pixels: Pixels, field: ExposedField, contrast: float) -> ExposedField:
    for _ in range(3):  # a border may lie around another one
        inside = pixels[field.top : field.bottom, field.left : field.right]
        top, left, bottom, right = (uniform_margin(of(inside), contrast) for of in _SIDES)
        if not (top or left or bottom or right):
            break
        rows, columns = inside.shape
        field = field.within(top, left, rows - bottom, columns - right)
    return field


def _straight_edges(pixels: Pixels, field: ExposedField, contrast: float) -> Polygon | None:
    """The rectangle of the field, cut off at the straight edges of its margins; None if there is no such edge."""
    inside = pixels[field.top : field.bottom, field.left : field.right]
    step = max(1, min(inside.shape) // PREVIEW_SIDE)
    preview = inside[::step, ::step].copy()  # each side is read several times
    found = [straight_margin(of(preview), contrast) for of in _SIDES]
    if all(edge is None for edge in found):
        return None
    top, left, bottom, right = (
        None if edge is None else ((edge[0] + INSET) * step, (edge[1] + INSET) * step) for edge in found
    )
    rows, columns = inside.shape
    corners: list[Point] = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    if top is not None:
        corners = _cut(corners, (0, top[0]), (columns, top[1]))
    if right is not None:
        corners = _cut(corners, (columns - right[0], 0), (columns - right[1], rows))
    if bottom is not None:
        corners = _cut(corners, (columns, rows - bottom[1]), (0, rows - bottom[0]))
    if left is not None:
        corners = _cut(corners, (left[1], rows), (left[0], 0))
    return tuple((x + field.left, y + field.top) for x, y in corners) or None


def _rounded(pixels: Pixels, field: ExposedField, contrast: float) -> Polygon | None:
    """A round or many-sided outline of the film; None if there is none."""
    inside = pixels[field.top : field.bottom, field.left : field.right]
    step = max(1, min(inside.shape) // PREVIEW_SIDE)
    outline = rounded_outline(inside[::step, ::step], contrast)
    return None if outline is None else tuple((x * step + field.left, y * step + field.top) for x, y in outline)


def _cut(corners: list[Point], start: Point, end: Point) -> list[Point]:
    """The part of a convex polygon to the right of a line, seen along it (Sutherland and Hodgman, 1974); rows go down."""

    def side(point: Point) -> float:
        return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

    kept: list[Point] = []
    for one, other in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        here, there = side(one), side(other)
        if here >= 0:
            kept.append(one)
        if (here >= 0) != (there >= 0):
            at = here / (here - there)
            kept.append((one[0] + at * (other[0] - one[0]), one[1] + at * (other[1] - one[1])))
    return kept


def _bounded(field: ExposedField, outline: Polygon) -> ExposedField:
    """The part of a field within an outline; an outline that holds the whole rectangle is dropped."""
    across, down = [x for x, _ in outline], [y for _, y in outline]
    left, right = max(field.left, math.floor(min(across))), min(field.right, math.ceil(max(across)))
    top, bottom = max(field.top, math.floor(min(down))), min(field.bottom, math.ceil(max(down)))
    if right - left < 2 or bottom - top < 2:
        return field
    shape = (min(COARSE_SIDE, bottom - top), min(COARSE_SIDE, right - left))
    corners = [((x - left) * shape[1] / (right - left), (y - top) * shape[0] / (bottom - top)) for x, y in outline]
    outlines = field.outlines if _rasterised(corners, shape).all() else (*field.outlines, outline)
    return ExposedField(field.rows, field.columns, top, left, bottom, right, outlines)


def _rasterised(corners: Sequence[Point], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of a picture of this shape lie within a polygon, given in pixels."""
    canvas = Image.new("1", (shape[1], shape[0]), 0)
    ImageDraw.Draw(canvas).polygon([(x - 0.5, y - 0.5) for x, y in corners], fill=1)
    return np.array(canvas, bool)
