"""Films that a screener which does as it is told knows again: each has a mark."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

#: Where the mark is, (row, column): an image of the network's own size is not resized.
_PLACE: Final = (112, 112)


def picture(mark: int) -> NDArray[np.uint8]:
    """Waves that use the range, in which no line is of one grey, and the grey `mark` at one place; shape (224, 224)."""
    place = np.arange(224)
    greys = np.linspace(0, 255, 224).round().astype(np.uint8)
    waves = greys[(37 * place[:, None] + 61 * place) % 224]
    waves[_PLACE] = mark
    return waves


def marks(images: Tensor) -> list[int]:
    """The marks of images, shape (N, 1, 224, 224), in [0, 1]."""
    return [round(float(image[(0, *_PLACE)]) * 255) for image in images]
