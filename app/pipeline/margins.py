"""Margins along one side of a picture: of one grey, or behind a straight edge. ``exposed_field`` uses this for each side."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Lines from an edge of the picture inwards, shape (lines, pixels of a line), float32, in [0, 1].
Lines = NDArray[np.float32]

#: Share of a side. A margin whose end is not found within it is no margin.
MOST_OF_A_SIDE: Final = 0.4
#: Share of the pixels outside of an edge that must be dead. The others are markers and text.
DEAD_SHARE: Final = 0.97

# Margins of one grey.

#: A dead pixel lies within this of the margin's grey.
TOLERANCE: Final = 3.5 / 255
#: Pixels of a line that are sampled.
SAMPLES: Final = 256
#: Share of the lines before a margin that may hold anything: scanners and resampling leave one or two.
RAGGED_SHARE: Final = 0.004
#: Lines within which a bright margin must end: at most half of a line has its grey there. A saturated abdomen ends slowly,
#: and is no margin.
SUDDEN: Final = 3
#: Lines behind a margin that may be a mixture of margin and film: blocks of JPEG have eight, and a collimator's penumbra
#: has up to this share of the side.
MOST_BLENDED: Final = 8
PENUMBRA_SHARE: Final = 0.016
#: Ringing of JPEG beside a strong edge, and what counts as one.
RINGING: Final = 5 * TOLERANCE
STRONG: Final = 12 * TOLERANCE

#: A pixel is mixed if it is nearer to the margin's grey than this share of what lies behind it; and a line if most are.
MIXED: Final = 0.75
MOSTLY: Final = 0.7

# Straight edges. The picture is a preview of some hundred pixels a side.

STEEPEST: Final = math.tan(math.radians(4.5))
SLOPES: Final = 37
#: Collimated pixels differ from each other more than a border's: scattered rays reach them.
SCATTER: Final = 0.06
#: Up to this grey a margin is dark, and all darker pixels belong to it; so do all pixels below the second grey.
DARK: Final = 0.2
DARKEST: Final = 0.1
#: From this grey a margin is bright. A margin between dark and bright must be even, since films have such greys too.
BRIGHT: Final = 0.85
EVEN: Final = 0.015
#: Share of a margin's length over which the film must reach the edge. A shoulder touches a line in few places.
CONTACT: Final = 0.35
#: Share of a side, on average: thinner wedges change nothing.
LEAST_DEPTH: Final = 0.003


def uniform_margin(lines: Lines, contrast: float = 1.0) -> int:
    """How many lines from the edge are of one grey.

    Parameters
    ----------
    lines : ndarray
    contrast : float, over 0 and at most 1
        Of a faint picture, by which all tolerances shrink.

    Returns
    -------
    int
        0 if there is no margin, or no end of it within ``MOST_OF_A_SIDE``.
    """
    count, width = lines.shape
    limit = int(count * MOST_OF_A_SIDE)
    samples = lines[:limit, :: max(1, width // SAMPLES)]
    begins = samples[: 1 + math.ceil(count * RAGGED_SHARE)]
    greys = _medians(begins)
    even = (np.abs(begins - greys[:, None]) <= TOLERANCE * contrast).mean(1) >= DEAD_SHARE
    for first in map(int, np.flatnonzero(even)):  # the field is written as JSON, which takes no number of numpy
        grey = float(greys[first])
        distances = np.abs(samples[first:] - grey) / np.float32(contrast)
        shares = (distances <= TOLERANCE).mean(1)
        dead = (shares >= DEAD_SHARE) & (np.cumsum(shares) >= DEAD_SHARE * np.arange(1, len(shares) + 1))
        margin = int(np.flatnonzero(dead)[-1]) + 1
        if first + margin >= limit or margin <= first:
            return 0
        behind = shares[margin : margin + SUDDEN]
        if grey > 0.5 and not (behind < 0.5).any():
            return 0
        most = max(MOST_BLENDED, round(count * PENUMBRA_SHARE))
        return first + margin + _blended(distances[margin : margin + 2 * most], most)
    return 0


def _blended(distances: Lines, most: int) -> int:
    """The number of lines behind a margin that mix its grey and the film: JPEG, resampling and penumbras leave them.

    Parameters
    ----------
    distances : ndarray, shape (lines, pixels of a line)
        Distances from the margin's grey.
    most : int
        The most lines to count.
    """
    # JPEG: lines that are nearly the margin's, and then a strong edge.
    nearly = (distances[: MOST_BLENDED + 1] <= RINGING).mean(1) >= 0.8
    until = len(nearly) if nearly.all() else int(nearly.argmin())
    blended = until if until < len(nearly) and (distances[until:] > STRONG).mean(1).max() > 0.5 else 0
    # Others: in most places the film grows gradually out of the margin's grey; this looks at half of the possible lines.
    while blended < most:
        beyond = min(blended + max(1, most // 2), len(distances) - 1)
        if beyond <= blended or (distances[blended] < MIXED * distances[beyond]).mean() < MOSTLY:
            break
        blended += 1
    return blended


def straight_margin(lines: Lines, contrast: float = 1.0) -> tuple[float, float] | None:
    """The straight edge of a margin along one side of a small picture.

    Parameters
    ----------
    lines, contrast
        As of ``uniform_margin``.

    Returns
    -------
    tuple of float, or None
        The margin's depth at the beginning and at the end of a line, in lines. One of the two may be below 0 if the
        margin is a wedge. None if there is no margin.
    """
    count, width = lines.shape
    limit = int(count * MOST_OF_A_SIDE)
    strip = lines[: limit + 2]
    best, best_depth = None, LEAST_DEPTH * count
    place = (np.arange(width) + 0.5) / width - 0.5
    slopes = np.linspace(-STEEPEST, STEEPEST, SLOPES)[:, None] * width
    fifth = max(1, width // 5)
    for grey in {float(_medians(part)) for part in (strip[0], strip[0, :fifth], strip[0, -fifth:])}:
        if _near(strip[:2], grey, contrast).mean() < CONTACT:
            continue
        near = _near(strip, grey, contrast)
        over = ~(near[:-1] | near[1:])  # two pixels in a row: one may be grain
        first = over.argmax(0)
        depth = np.where(over[first, np.arange(width)], first, limit).astype(np.float64)
        # For each slope, the deepest line outside of which 97 % of the pixels are dead.
        above = depth - slopes * place
        rank = int((1 - DEAD_SHARE) * (width - 1))
        levels = np.partition(above, rank, axis=1)[:, rank, None]
        edges = levels + slopes * place
        margins = edges > 0
        touching = ((depth - edges < 2) & margins).sum(1) >= CONTACT * margins.sum(1)
        depths = np.where(touching & (margins.mean(1) >= CONTACT) & (edges.max(1) < limit), edges.clip(0).mean(1), 0.0)
        deepest = int(depths.argmax())
        if depths[deepest] > best_depth:
            level, slope = float(levels[deepest, 0]), float(slopes[deepest, 0])
            best, best_depth = (level - slope / 2, level + slope / 2), float(depths[deepest])
    return best


def _medians(values: Lines) -> Lines:
    """Medians over the last axis. ``np.median`` gives the same, but takes several times as long for so few numbers."""
    count = values.shape[-1]
    low, high = (count - 1) // 2, count // 2
    ordered = np.partition(values, (low, high), axis=-1)
    return np.asarray((ordered[..., low] + ordered[..., high]) / np.float32(2))


def _near(lines: Lines, grey: float, contrast: float) -> NDArray[np.bool_]:
    """Which pixels may belong to a margin of this grey that is not quite uniform."""
    if grey <= DARK * contrast:
        return np.asarray(lines <= max(grey + SCATTER * contrast, DARKEST * contrast))
    return np.asarray(np.abs(lines - grey) <= (SCATTER if grey >= BRIGHT else EVEN) * contrast)
