"""The pictures for a reviewer: the film, and its high-frequency residual, in which an attack's noise shows."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor

#: The residual that is black, and (positive) white. The paper's attacks change a pixel by up to .02. The scale is the same
#: for all films, so that a reviewer learns what a clean one looks like.
RESIDUAL_RANGE: Final = 1 / 16
RESIDUAL_SIDE: Final = 3  # pixels of the median


def film_png(pixels: NDArray[np.float32]) -> bytes:
    """A film as 8-bit PNG, as it was decoded.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns), float32, in [0, 1]
    """
    return _png(np.rint(pixels * 255))


def residual_png(film: Tensor) -> bytes:
    """The network's input minus its 3x3 median, as 8-bit PNG: mid-grey is 0, black and white are ``RESIDUAL_RANGE``.

    Parameters
    ----------
    film : Tensor, shape (1, 1, 224, 224), float32, in [0, 1]
    """
    seen = film[0, 0].numpy()
    residual = seen - median_filter(seen, size=RESIDUAL_SIDE, mode="nearest")
    return _png(np.clip(np.rint(127.5 + 127.5 * residual / RESIDUAL_RANGE), 0, 255))


def _png(grey: NDArray[np.floating]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
