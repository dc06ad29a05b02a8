"""Display shutters (PS3.3 C.7.6.11): regions of the header, outside of which there is no film."""

from __future__ import annotations

import math
from typing import Final

from pydicom.dataset import Dataset

from ..errors import MalformedImage
from ..exposed_field import Polygon
from .tags import named, numbers, texts

#: Corners of the polygon that stands for a circle: it strays by a thousandth of the radius.
CORNERS_OF_A_CIRCLE: Final = 72
MAX_VERTICES: Final = 1000


def read_shutters(dataset: Dataset) -> tuple[tuple[Polygon, ...], tuple[str, ...]]:
    """Read the shutters.

    A shutter is an instruction for displays: a faulty one is noted, and does not refuse the film.

    Returns
    -------
    shutters : tuple of Polygon
        Corners (column, row) in pixels from the picture's corner. The tags count pixels from 1, row before column.
        The film lies within all of them.
    notes : tuple of str
    """
    shutters: list[Polygon] = []
    notes: list[str] = []
    for shape in texts(dataset, "ShutterShape"):
        try:
            shutters.append(_SHAPES[shape](dataset))
        except KeyError:
            notes.append(f"{named('ShutterShape')} has a shape that is not read here: that shutter is not applied")
        except MalformedImage as error:
            notes.append(f"the shutter is not applied: {error}")
    return tuple(shutters), tuple(notes)


def _rectangle(dataset: Dataset) -> Polygon:
    left, right, top, bottom = (
        _values(dataset, f"Shutter{edge}Edge", 1)[0]
        for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    )
    # Each names a column or a row. The standard does not say whether that one is still seen; here it is.
    return _not_flat(((left - 1, top - 1), (right, top - 1), (right, bottom), (left - 1, bottom)))


def _circle(dataset: Dataset) -> Polygon:
    row, column = _values(dataset, "CenterOfCircularShutter", 2)
    (radius,) = _values(dataset, "RadiusOfCircularShutter", 1)
    angles = [2 * math.pi * corner / CORNERS_OF_A_CIRCLE for corner in range(CORNERS_OF_A_CIRCLE)]
    return _not_flat(tuple((column - 0.5 + radius * math.cos(a), row - 0.5 + radius * math.sin(a)) for a in angles))


def _polygon(dataset: Dataset) -> Polygon:
    values = numbers(dataset, "VerticesOfThePolygonalShutter")
    if len(values) < 6 or len(values) % 2 or len(values) > 2 * MAX_VERTICES:
        raise MalformedImage(f"{named('VerticesOfThePolygonalShutter')} is not three or more pairs of row and column")
    return _not_flat(tuple((column - 0.5, row - 0.5) for row, column in zip(values[::2], values[1::2], strict=True)))


_SHAPES: Final = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}


def _values(dataset: Dataset, keyword: str, count: int) -> list[float]:
    found = numbers(dataset, keyword)
    if len(found) != count:
        raise MalformedImage(f"{named(keyword)} is not {'one number' if count == 1 else f'{count} numbers'}")
    return found


def _not_flat(corners: Polygon) -> Polygon:
    across, down = [x for x, _ in corners], [y for _, y in corners]
    if max(across) - min(across) < 2 or max(down) - min(down) < 2:
        raise MalformedImage("it leaves nothing to be seen")
    return corners
