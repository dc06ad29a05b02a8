"""Projections -> films: a collimated field, an exposure with scatter, a film's curve."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from .project import SIDE

#: Attenuation of water, 1/mm, at a chest film's energies.
WATER_PER_MM: Final = 0.02
BODY_MM: Final = 25  # of water: a ray that meets less passes beside the body

Generator = np.random.Generator


def expose(rays: NDArray[np.float32], generator: Generator, beside: bool) -> NDArray[np.float32]:
    """Millimetres of water, shape (112, 112) -> a film of a random field around the body, same shape, float32 in [0, 1].

    Parameters
    ----------
    beside : bool
        True: the field may show air before and behind the body, like a lateral film's. False: it may cut the body at the sides.
    """
    columns = np.flatnonzero((rays > BODY_MM).mean(axis=0) > 0.2)
    first, last = float(columns[0]), float(columns[-1])
    low, high = (-0.18, 0.08) if beside else (-0.03, 0.14)
    left, right = (generator.uniform(low, high) * (last - first) for _ in range(2))
    x = torch.linspace(first + left, last - right, SIDE)
    y = torch.linspace(SIDE * generator.uniform(0, 0.13), SIDE * (1 - generator.uniform(0.02, 0.3)), SIDE)
    v, h = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack([h, v], -1)[None] * (2 / (SIDE - 1)) - 1
    field = F.grid_sample(torch.from_numpy(rays)[None, None], places, align_corners=True)[0, 0].numpy()
    primary = np.exp(-field * WATER_PER_MM * generator.uniform(0.6, 1.4))
    scatter = generator.uniform(0, 0.06)
    reaching = (1 - scatter) * primary + scatter * ndimage.gaussian_filter(primary, SIDE / 9)
    film = -np.log(reaching + generator.uniform(0.0005, 0.01))
    black, white = np.percentile(film, [generator.uniform(0, 8), generator.uniform(97, 100)])
    grey = np.clip((film - black) / (white - black), 0, 1) ** np.exp(generator.uniform(-0.2, 0.8))
    return np.asarray(grey, dtype=np.float32)


def exposures(rays: NDArray[np.float32], count: int, generator: Generator, beside: bool) -> Tensor:
    """Films of projections, shape (N, 112, 112) -> (count, 112, 112). Each projection is used equally often."""
    chosen = generator.permutation(np.arange(count) % len(rays))
    return torch.from_numpy(np.stack([expose(rays[one], generator, beside) for one in chosen]))
