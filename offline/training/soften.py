"""Blur the filters of a network's first layer: small changes of single pixels then move it less."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.films import FilmsError
from ..run import Run, weights_sha256

FIRST_LAYER: Final = "features.conv0.weight"
#: A filter is 7 pixels wide: a wider blur would leave hardly more than its mean.
WIDEST: Final = 3.0


def soften(run: Run, deviation: float, output: Run) -> Path:
    """Blur the first layer's filters. Writes a run and returns its weights file; the last layer should then be fitted again.

    Blurred filters on a film give the same result as the filters on a blurred film, except at the edges, where they are cut
    off. Structures of a chest are larger than a pixel; an attack's small change of each pixel is not.

    Parameters
    ----------
    deviation : float
        Standard deviation of the Gaussian, in pixels of the 224.

    Raises
    ------
    FilmsError
        `run` has no trained network, or the deviation is not over 0 and up to ``WIDEST``.
    """
    if not 0 < deviation <= WIDEST:
        raise FilmsError(f"--deviation {deviation:g} is not over 0 and up to {WIDEST:g}")
    network = run.network()
    weights = network.state_dict()
    weights[FIRST_LAYER] = blurred(weights[FIRST_LAYER], deviation)
    then = f"the first layer of network {weights_sha256(network)[:12]} blurred by {deviation:g} pixels"
    return run.save_successor(output, weights, then)


def blurred(filters: Tensor, deviation: float) -> Tensor:
    """Filters convolved with a Gaussian and cut to their size. The cut-off weight is spread evenly, so that sums stay.

    Parameters
    ----------
    filters : Tensor, shape (M, C, S, S)
    deviation : float
        In pixels.
    """
    reach = int(3 * deviation + 0.5)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-places.square() / (2 * deviation**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    flat = filters.double().flatten(0, 1)[:, None]
    soft = F.conv2d(flat, kernel[None, None], padding=reach).view_as(filters)
    lost = filters.double().sum((2, 3), keepdim=True) - soft.sum((2, 3), keepdim=True)
    return (soft + lost / filters[0, 0].numel()).to(filters)
