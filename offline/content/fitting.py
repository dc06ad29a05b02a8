"""Fit the check of content: frontal films against projected laterals and drawn pictures; floors by held-out films."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from app.pipeline.content import KINDS, SHAPES, SIDE, Content, normalised

from ..features import write_json
from ..films import Film, FilmsError, of_split
from ..loading import in_order
from .changed import Shapes, bent, toned
from .drawn import drawings, parts
from .exposed import exposures
from .project import SIDE as BASE_SIDE
from .project import read_projections

FITTED: Final = "content.safetensors"
RECORD: Final = "content.json"
BATCH: Final = 16
OF_FILMS: Final = Shapes()
#: A lateral is cut closer and is narrower than it is high, yet comes stretched to a square.
OF_PROJECTIONS: Final = Shapes(turn=10, scale=(0.85, 1.06), aspect=0.3, bend=0.035)


@dataclass(frozen=True)
class ContentOptions:
    """How it is fitted.

    Attributes
    ----------
    steps : int
        Of the optimiser, each on 96 pictures: films, projected frontals, projected laterals, and what is drawn.
    exposures, drawings : int
        Made once, and changed otherwise in every step.
    copies : int
        Of each training film, changed, for the subspace; of each held-out one, for the floors.
    components : int
        Of the subspace.
    """

    seed: int = 0
    steps: int = 1200
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    exposures: int = 900
    drawings: int = 1400
    copies: int = 6
    components: int = 120


def small_network() -> nn.Sequential:
    """The network of ``app.pipeline.content`` to be trained: thumbnails (N, 1, 32, 32) -> logits (N, 3)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, len(KINDS))),
    )


def reduced(films: Tensor) -> NDArray[np.float64]:
    """Films, shape (N, H, W), sides multiples of 32 -> thumbnails, shape (N, 32, 32)."""
    return normalised(F.adaptive_avg_pool2d(films[:, None], SIDE)[:, 0].numpy())


def load_small(films: list[Film], workers: int, title: str) -> Tensor:
    """Films at half the gate's side, shape (N, 112, 112), in [0, 1]."""
    found = []
    with tqdm(total=len(films), desc=f"reducing {title}", unit="film") as progress:
        for images, _ in in_order(films, batch_size=BATCH, workers=workers):
            found.append(F.adaptive_avg_pool2d(images, BASE_SIDE)[:, 0])
            progress.update(len(images))
    return torch.cat(found)


class Pictures:
    """What is learnt from: classes of pictures, from which batches are drawn, changed anew each time."""

    def __init__(self, films: Tensor, options: ContentOptions) -> None:
        self.generator = np.random.default_rng(options.seed)
        projections = read_projections()
        self.films = films
        self.frontals = exposures(projections.frontal, options.exposures // 2, self.generator, False)
        self.laterals = exposures(projections.lateral, options.exposures, self.generator, True)
        slices = torch.from_numpy(projections.slices)
        tissue = parts(films, options.drawings // 7, self.generator)
        self.others = torch.cat([drawings(options.drawings, self.generator), slices, slices, tissue])

    def batch(self) -> tuple[Tensor, Tensor]:
        """Thumbnails, shape (96, 1, 32, 32), and their kinds, shape (96,)."""
        frontal = bent(self._some(self.films, 36), self.generator, OF_FILMS)
        projected = bent(self._some(self.frontals, 12), self.generator, OF_PROJECTIONS)
        lateral = in_any_sense(bent(self._some(self.laterals, 24), self.generator, OF_PROJECTIONS), 0.25, self.generator)
        other = in_any_sense(bent(self._some(self.others, 24), self.generator, OF_FILMS), 0.75, self.generator)
        pictures = toned(torch.cat([frontal, projected, lateral, other]), self.generator)
        kinds = torch.repeat_interleave(torch.arange(3), torch.tensor([48, 24, 24]))
        return torch.from_numpy(reduced(pictures)).float()[:, None], kinds

    def _some(self, pictures: Tensor, count: int) -> Tensor:
        return pictures[torch.from_numpy(self.generator.integers(len(pictures), size=count))]


def in_any_sense(pictures: Tensor, share: float, generator: np.random.Generator) -> Tensor:
    """A share of pictures, shape (N, H, H), turned by quarters or inverted; changed in place."""
    for picture in pictures:
        if generator.random() < share:
            turns = int(generator.integers(5))
            picture.copy_(1 - picture if turns == 4 else torch.rot90(picture, turns))
    return pictures


def train_network(pictures: Pictures, options: ContentOptions) -> nn.Sequential:
    """The small network after all steps, in evaluation mode."""
    torch.manual_seed(options.seed)
    network = small_network()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.learning_rate, total_steps=options.steps)
    for _ in tqdm(range(options.steps), desc="content", unit="step"):
        thumbnails, kinds = pictures.batch()
        loss = F.cross_entropy(network(thumbnails), kinds, label_smoothing=0.01)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def arrays_of(network: nn.Sequential) -> dict[str, NDArray[np.float32]]:
    """The trained arrays under the names of ``SHAPES``."""
    return dict(zip(SHAPES, (value.detach().numpy().copy() for value in network.state_dict().values()), strict=True))


def subspace(thumbnails: NDArray[np.float64], components: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (1024,) and the first principal components (k, 1024) of thumbnails, shape (N, 32, 32)."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    mean = flat.mean(axis=0)
    _, vectors = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    return mean.astype(np.float32), np.ascontiguousarray(vectors.T[::-1][:components], dtype=np.float32)


def copies_of(films: Tensor, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Thumbnails of films as they are, then of `count` changed copies of each."""
    parts = [reduced(F.interpolate(films[:, None], size=(2 * SIDE, 2 * SIDE), mode="area")[:, 0])]
    for _ in range(count):
        parts.append(reduced(toned(bent(films, generator, OF_FILMS), generator)))
    return np.concatenate(parts)
