"""Random changes to batches of films: turned, cropped, bent, another tone, markers. Only the fit uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

OUT: Final = 64  # pixels of a side; an integral multiple of the check's own
Generator = np.random.Generator


@dataclass(frozen=True)
class Shapes:
    """How far a film may be bent.

    Attributes
    ----------
    turn : float
        Largest angle to either side, in degrees.
    scale : tuple of float
        Range of the shown side, as a share of the film's side: under 1 crops, over 1 leaves a border.
    aspect : float
        Largest log of width over height, of either sign.
    shift : float
        Largest shift, as a share of the side.
    bend : float
        Standard deviation of the 4 x 4 points that bend the film, as a share of the side.
    """

    turn: float = 7.0
    scale: tuple[float, float] = (0.8, 1.2)
    aspect: float = 0.2
    shift: float = 0.05
    bend: float = 0.03


def bent(films: Tensor, generator: Generator, shapes: Shapes) -> Tensor:
    """Films, shape (N, H, W), in [0, 1] -> shape (N, 64, 64). Half are mirrored; a border is black, white or a repeated edge."""
    n = len(films)

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(generator.uniform(low, high, (n, *shape))).float()

    angle, scale = torch.deg2rad(drawn(-shapes.turn, shapes.turn)), drawn(*shapes.scale)
    aspect = torch.exp(drawn(-shapes.aspect, shapes.aspect) / 2)
    mirrored = torch.where(drawn(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * scale * aspect * mirrored
    theta[:, 0, 1] = -torch.sin(angle) * scale / aspect
    theta[:, 1, 0] = torch.sin(angle) * scale * aspect * mirrored
    theta[:, 1, 1] = torch.cos(angle) * scale / aspect
    theta[:, :, 2] = 2 * drawn(-shapes.shift, shapes.shift, 2)
    places = F.affine_grid(theta, [n, 1, OUT, OUT], align_corners=False)
    points = torch.from_numpy(generator.normal(0, 2 * shapes.bend, (n, 2, 4, 4))).float()
    places = places + _smooth(points).permute(0, 2, 3, 1)
    white = drawn(0, 1)[:, None, None] < 1 / 6
    films = torch.where(white, 1 - films, films)
    black = F.grid_sample(films[:, None], places, align_corners=False)[:, 0]
    longer = F.grid_sample(films[:, None], places, padding_mode="border", align_corners=False)[:, 0]
    shown = torch.where(white | (drawn(0, 1)[:, None, None] < 0.3), black, longer)
    return torch.where(white, 1 - shown, shown)


def toned(films: Tensor, generator: Generator) -> Tensor:
    """Films, shape (N, 64, 64), in [0, 1] -> the same shape; equalised, another gamma and window, shaded, grained, marked."""
    n = len(films)

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(generator.uniform(low, high, (n, 1, 1))).float()

    films = films.clamp(0, 1)
    share = torch.where(drawn(0, 1) < 0.3, drawn(0, 0.9), torch.zeros(()))
    films = (1 - share) * films + share * equalised(films)
    films = films ** torch.exp(drawn(-0.5, 0.5))
    low, high = drawn(-0.05, 0.12), 1 - drawn(-0.05, 0.15)
    films = ((films - low) / (high - low)).clamp(0, 1)
    films = films + _smooth(torch.from_numpy(generator.normal(0, 0.05, (n, 1, 3, 3))).float())[:, 0]
    grain = torch.from_numpy(generator.standard_normal(films.shape, np.float32))
    return marked((films + drawn(0, 0.01) * grain).clamp(0, 1), generator)


def equalised(films: Tensor) -> Tensor:
    """Films with each grey value equally frequent: ranks in [0, 1], shape (N, H, W)."""
    flat = films.flatten(1)
    return (flat.argsort(1).argsort(1).float() / (flat.shape[1] - 1)).view_as(films)


def marked(films: Tensor, generator: Generator) -> Tensor:
    """Put a bright marker at the edge of two films in five; shape (N, H, W), changed in place."""
    height, width = films.shape[1:]
    for film in films:
        if generator.random() < 0.4:
            h, w = generator.integers(2, 5), generator.integers(2, 7)
            row = generator.integers(0, height - h)
            column = generator.choice([generator.integers(0, 10), width - w - generator.integers(0, 10)])
            film[row : row + h, column : column + w] = float(generator.uniform(0.7, 1))
    return films


def _smooth(points: Tensor) -> Tensor:
    """Interpolate points, shape (N, C, k, k) -> (N, C, 64, 64)."""
    return F.interpolate(points, size=(OUT, OUT), mode="bicubic", align_corners=True)
