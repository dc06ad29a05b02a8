"""The mean class activation map of clean films without findings. A heatmap is shown relative to it."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from app.pipeline.heatmap import MAP_SHAPE, class_activation_maps
from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork

from ..data.films import Film, of_split
from ..data.loading import load_film
from ..run import Run

#: More films would change the mean by less than one film adds.
FILMS: Final = 128


def fit_typical_maps(run: Run, network: ChestNetwork, films: list[Film], device: torch.device) -> NDArray[np.float32]:
    """Mean maps of up to ``FILMS`` training films without findings (of any films if there are none), written into the run.

    Returns
    -------
    ndarray, shape (L, 7, 7), float32
        Logits.
    """
    train = of_split(films, "train")
    clear = [film for film in train if not any(film.targets)] or train
    chosen = clear[:: max(1, len(clear) // FILMS)][:FILMS]
    total = np.zeros((len(LABELS), *MAP_SHAPE))
    network = network.to(device).eval()
    for film in tqdm(chosen, desc="typical heatmaps", unit="film"):
        image = load_film(film.path)[None].to(device)
        total += class_activation_maps(network, image)
    maps = (total / len(chosen)).astype(np.float32)
    run.typical_maps.write({"typical_maps": maps})
    return maps


def load_typical_maps(run: Run) -> NDArray[np.float32]:
    """Read the maps that ``fit_typical_maps`` wrote.

    Raises
    ------
    FilmsError
        ``fit_typical_maps`` was not run.
    """
    return run.typical_maps.read()["typical_maps"]
