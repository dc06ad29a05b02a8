"""A map over the exposed field, and a box on the original film -> how well they fit."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pipeline.exposed_field import ExposedField
from app.pipeline.image import INPUT_SIDE

from .boxes import ORIGINAL_SIDE, Box

Map = NDArray[np.float32]
Point = tuple[float, float]
#: Pixels of the original by which the strongest place may miss the box (Zhang et al., IJCV 2018, section 4.1).
TOLERANCE: Final = 15.0
#: Share of the field, its strongest places, that is compared with the box.
STRONGEST_SHARE: Final = 0.1
#: Share of each side of the field; 1.1 % of the 984 boxes of the NIH's list have their centre in this margin.
MARGIN: Final = 0.1


def on_original(place: Point, field: ExposedField) -> Point:
    """A place in the exposed field, (column, row) in [0, 1] -> pixels of the original film.

    The network sees the field stretched to a square, and the film may be a reduced copy of the original.
    """
    column = field.left + place[0] * (field.right - field.left)
    row = field.top + place[1] * (field.bottom - field.top)
    return column * ORIGINAL_SIDE / field.columns, row * ORIGINAL_SIDE / field.rows


def strongest(shown: Map) -> Point | None:
    """The middle of the strongest place, (column, row) in [0, 1] of the field; None if the map is nowhere positive."""
    if not float(shown.max()) > 0:
        return None
    row, column = np.unravel_index(int(shown.argmax()), shown.shape)
    return (float(column) + 0.5) / shown.shape[1], (float(row) + 0.5) / shown.shape[0]


def hits(point: Point | None, box: Box) -> bool:
    """Whether a point, in pixels of the original, lies in the box or within ``TOLERANCE`` of it."""
    if point is None:
        return False
    column, row = point
    beside = max(box.left - column, 0.0, column - box.right)
    above = max(box.top - row, 0.0, row - box.bottom)
    return math.hypot(beside, above) <= TOLERANCE


def overlap(shown: Map, box: Box, field: ExposedField) -> float:
    """Intersection over union of the box, as far as it lies in the field, and the strongest tenth of the field.

    A map that is nowhere positive overlaps nothing.

    Parameters
    ----------
    shown : ndarray, shape (224, 224)
    """
    if not float(shown.max()) > 0:
        return 0.0
    places = (np.arange(INPUT_SIDE) + 0.5) / INPUT_SIDE
    columns, rows = np.array([on_original((place, place), field) for place in places]).T
    across, down = (columns >= box.left) & (columns < box.right), (rows >= box.top) & (rows < box.bottom)
    within = down[:, None] & across[None]
    warm = shown > np.quantile(shown, 1 - STRONGEST_SHARE)
    union = int((within | warm).sum())
    return int((within & warm).sum()) / union if union else 0.0


def outside_the_chest(place: Point | None) -> bool:
    """Whether a place of the field lies in its outer margin, where hardly a finding is; the lungs were not segmented."""
    return place is not None and not all(MARGIN <= coordinate <= 1 - MARGIN for coordinate in place)
