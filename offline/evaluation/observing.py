"""Films -> 8-bit images at 224x224 -> the network's outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ..attacks import as_posted
from ..data.films import Film
from ..data.loading import load_film
from ..detectors import Observed

BATCH = 16
Images = NDArray[np.uint8]  # (N, 1, 224, 224)


def load_images(films: list[Film], title: str) -> Images:
    """Films as they are posted: 8 bits at 224x224, shape (N, 1, 224, 224), uint8 (50 kB a film)."""
    return np.stack([to_levels(load_film(film.path)) for film in tqdm(films, desc=title, unit="film")])


def to_levels(images: Tensor) -> Images:
    """Images in [0,1] -> grey levels, rounded."""
    return (images * 255).round().to(torch.uint8).cpu().numpy()


def to_images(levels: Images, device: torch.device) -> Tensor:
    """Grey levels -> images in [0,1], float32, on the 8-bit grid."""
    return as_posted(torch.from_numpy(levels).to(device).float() / 255)


def batches(levels: Images, device: torch.device, title: str, size: int = BATCH) -> Iterator[Tensor]:
    """Images in batches, with a progress bar."""
    with tqdm(total=len(levels), desc=title, unit="film") as progress:
        for start in range(0, len(levels), size):
            images = to_images(levels[start : start + size], device)
            yield images
            progress.update(len(images))


def observe(network: nn.Module, levels: Images, device: torch.device, title: str) -> Observed:
    """The network's outputs for images, in float32 as in the service."""
    with torch.inference_mode():
        found = [[part.cpu().numpy() for part in network(images)] for images in batches(levels, device, title)]
    return Observed(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
