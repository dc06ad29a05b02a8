"""A round or many-sided collimation that is part of the pixels: four corners of one grey around a convex film.

No header has the shutter of such a film. ``exposed_field`` uses this if it has found no slanted edges.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from .margins import DEAD_SHARE, RINGING, TOLERANCE

Pixels = NDArray[np.float32]

#: Share of a side that a corner has at least along both of its edges; so a few pixels are enough to rule out most films.
LEAST_SIDE: Final = 1 / 64
#: Share of the picture's area that each corner has at least.
LEAST_AREA: Final = 0.005
#: Share of the lines on which the film must end on the outline, and pixels by which an end may miss it. A collimator's edge is
#: straight or round, so that most of it lies on its convex hull; a body's is not. Of 1,353 films, 24 have four dark
#: corners; the bodies among them reach .64 at most, and collimation reaches .8 and more.
CONTACT: Final = 0.7
ASTRAY: Final = 1.0
#: Share of the lines on which the film must differ from the corners' grey just behind its end.
SUDDEN: Final = 0.5
BEHIND: Final = 3
#: Pixels by which the outline is moved inwards at least.
INSET: Final = 1.5


def rounded_outline(preview: Pixels, contrast: float = 1.0) -> list[tuple[float, float]] | None:
    """The convex outline of a film whose four corners are of one grey.

    Parameters
    ----------
    preview : ndarray, shape (rows, columns), float32, in [0, 1]
        A small picture, of some hundred pixels a side.
    contrast : float, over 0 and at most 1
        Contrast of a faint picture, by which all tolerances shrink.

    Returns
    -------
    list of (column, row), or None
        None if there is no such outline, or it may be that of a body.
    """
    rows, columns = preview.shape
    side = max(2, round(LEAST_SIDE * min(rows, columns)))
    ends = preview[:side], preview[-side:]
    corners = np.stack([part for end in ends for part in (end[:, :side], end[:, -side:])])
    grey = float(np.median(corners))
    if (np.abs(corners - grey) > TOLERANCE * contrast).any():
        return None
    film = np.abs(preview - grey) > TOLERANCE * contrast
    film = film[:, :-1] & film[:, 1:]  # two pixels in a row: one may be grain
    at = np.flatnonzero(film.any(1))
    if len(at) < rows // 2:
        return None
    first, last = film[at].argmax(1), columns - film[at, ::-1].argmax(1)
    reach = np.concatenate([np.column_stack([first, at + 0.5]), np.column_stack([last, at + 0.5])])
    hull = ConvexHull(reach)
    outline = reach[hull.vertices]
    # How far each end lies within the nearest side of the outline; ends at the sides of the picture say nothing.
    within = -(hull.equations @ np.column_stack([reach, np.ones(len(reach))]).T).max(0)
    bounding = np.concatenate([first > 1, last < columns - 1])
    if not bounding.any() or (within[bounding] <= ASTRAY).mean() < CONTACT:
        return None
    behind = np.concatenate([np.minimum(first + BEHIND, columns - 1), np.maximum(last - 1 - BEHIND, 0)])
    steps = np.abs(preview[np.concatenate([at, at]), behind] - grey)
    if (steps[bounding] > RINGING * contrast).mean() < SUDDEN:
        return None
    if (last - first).sum() < DEAD_SHARE * hull.volume:
        return None
    left, right = np.full((2, rows), columns / 2)
    left[at], right[at] = first.clip(max=columns // 2), (columns - last).clip(max=columns // 2)
    areas = [dead.sum() for beside in (left, right) for dead in (beside[: rows // 2], beside[rows // 2 :])]
    if min(areas) < LEAST_AREA * rows * columns:
        return None
    middle = outline.mean(0)
    inwards = middle + (outline - middle) * max(0.0, 1 - INSET / -float((hull.equations @ [*middle, 1.0]).max()))
    # A film that reaches the picture's sides keeps them.
    size = np.array([columns, rows])
    inwards = np.where(outline <= 0.5, 0, np.where(outline >= size - 0.5, size, inwards))
    return [(float(x), float(y)) for x, y in inwards]
