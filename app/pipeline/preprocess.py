"""DecodedImage -> its exposed field -> tensor (1, 1, 224, 224) in [0,1]."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .exposed_field import EXPOSED_FIELD, cut_out, find_field
from .image import INPUT_SIDE, DecodedImage

#: This stage in a bundle's manifest; a bundle that was fitted with another is refused.
PREPROCESSING: Final[dict[str, object]] = {
    "channels": "grey",
    "exposed_field": EXPOSED_FIELD,
    "range": [0.0, 1.0],
    "resize": "stretched to 224x224, bilinear, antialiased",
    "side": INPUT_SIDE,
}


def film_tensor(image: DecodedImage) -> Tensor:
    """The network's input for a film: its exposed field, resized. Shape (1, 1, 224, 224), float32, in [0, 1]."""
    return to_tensor(cut_out(image.pixels, image.field))


def picture_tensor(pixels: NDArray[np.float32]) -> Tensor:
    """Like ``film_tensor``, for pixels that were changed after decoding: their field is found anew."""
    return to_tensor(cut_out(pixels, find_field(pixels)))


def to_tensor(pixels: NDArray[np.float32]) -> Tensor:
    """Resize to the network's input.

    Films are stretched, not padded, since the NIH's own 1024x1024 files were. Reduction is
    antialiased (a triangle filter as wide as the scale), so that a full-size film and its
    2x2 box mean give nearly the same input.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns), float32, in [0, 1]

    Returns
    -------
    Tensor, shape (1, 1, 224, 224), float32, in [0, 1]
        An image of 224x224 passes through unchanged, to the bit.
    """
    image = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    if image.shape[-2:] != (INPUT_SIDE, INPUT_SIDE):
        image = F.interpolate(
            image, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True, align_corners=False
        )
    return image.clamp_(0.0, 1.0)  # rounding in the filter may leave [0,1] by an ulp
