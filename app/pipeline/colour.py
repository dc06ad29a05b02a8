"""Films that were saved in colour: grey ones are read as grey, and the others are refused."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: A grey film that went through a colour JPEG strays by a few levels; a photograph by far more.
MAX_COLOUR_SPREAD: Final = 12  # of 255


def colour_spread(rgb: NDArray[np.uint8]) -> int:
    """How far the channels of a pixel differ at most; `rgb` has shape (rows, columns, 3)."""
    red, green, blue = (rgb[..., channel] for channel in range(3))  # numpy takes long over extremes of an axis of three
    brightest = np.maximum(np.maximum(red, green), blue)
    return int((brightest - np.minimum(np.minimum(red, green), blue)).max())


def mean_of_channels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey of a film that is nearly so, shape (rows, columns), in [0, 255]."""
    return np.asarray(rgb.mean(axis=2, dtype=np.float32))


def chroma_spread(ybr: NDArray[np.uint8]) -> int:
    """``colour_spread`` of the colours that YBR_FULL stands for (PS3.3 C.7.6.3.1.2), by the extremes of its chroma."""
    blue, red = ((int(ybr[..., at].min()) - 128, int(ybr[..., at].max()) - 128) for at in (1, 2))
    corners = [(1.402 * r, -0.344136 * b - 0.714136 * r, 1.772 * b) for b in blue for r in red]
    return round(max(max(corner) - min(corner) for corner in corners))
