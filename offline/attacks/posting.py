"""The posted image: 8 bits a pixel, inside the budget."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

LEVELS: Final = 255
#: Share of a grey level; far above float32's rounding of a pixel.
_TOLERANCE: Final = 1e-3


def as_posted(images: Tensor) -> Tensor:
    """Round to the 8 bits of the posted PNG. Clean and attacked images are both rounded."""
    return (images * LEVELS).round() / LEVELS


def posted_within(attacked: Tensor, clean: Tensor, epsilon: float) -> Tensor:
    """Round to 8 bits without leaving the ball: if rounding would leave it, the last level inside is taken.

    Parameters
    ----------
    attacked : Tensor, shape (N, 1, H, W), in [0, 1]
    clean : Tensor, shape (N, 1, H, W), in [0, 1], on the 8-bit grid
    epsilon : float
        In pixel units of [0, 1].

    Returns
    -------
    Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1], within `epsilon` of `clean`
    """
    lowest = ((clean - epsilon) * LEVELS - _TOLERANCE).ceil().clamp_min(0)
    highest = ((clean + epsilon) * LEVELS + _TOLERANCE).floor().clamp_max(LEVELS)
    return torch.clamp((attacked * LEVELS).round(), lowest, highest) / LEVELS


def require_posted(images: Tensor) -> None:
    """Refuse images off the 8-bit grid: clean and attacked images must have the same format to be compared.

    Raises
    ------
    ValueError
        Pixels outside [0, 1], or between two 8-bit levels.
    """
    require_unit_range(images)
    if not torch.allclose(images * LEVELS, (images * LEVELS).round(), rtol=0, atol=_TOLERANCE):
        raise ValueError("images must be on the 8-bit grid; put them through as_posted first")


def require_unit_range(images: Tensor) -> None:
    """Refuse pixels outside [0, 1].

    Raises
    ------
    ValueError
        A pixel is outside [0, 1], or not a number.
    """
    if not (images.min() >= 0 and images.max() <= 1):  # in this form NaN fails too
        raise ValueError("images must be in [0, 1]")


def uniform_in_ball(clean: Tensor, epsilon: float, seed: int) -> Tensor:
    """A random start: uniform in the ball, clipped to [0, 1]; the same for the same seed and shape on any device."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(clean.shape, generator=generator).to(clean)
    return (clean + (2 * noise - 1) * epsilon).clamp(0, 1)


def project(moved: Tensor, clean: Tensor, epsilon: float) -> Tensor:
    """The nearest point of the ball, then of [0, 1]."""
    return torch.clamp(moved, clean - epsilon, clean + epsilon).clamp(0, 1)


def grey_change(attacked: Tensor, clean: Tensor) -> Tensor:
    """Mean absolute change in grey levels of 255, shape (N, 1, H, W) twice -> (N,)."""
    return (attacked - clean).abs().flatten(1).mean(1) * LEVELS
