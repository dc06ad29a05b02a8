"""Films -> batches of tensors, through the very decode and preprocess that serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from app.pipeline.decode import decode
from app.pipeline.errors import InputError
from app.pipeline.preprocess import to_tensor

from .films import Film, FilmsError

Augment = Callable[[Tensor], Tensor]


def load_film(path: Path) -> Tensor:
    """One film, shape (1, 224, 224), float32, in [0,1].

    Raises
    ------
    FilmsError
        The file cannot be decoded; names it and says why.
    """
    try:
        return to_tensor(decode(path.read_bytes()).pixels)[0]
    except InputError as error:
        raise FilmsError(f"{path}: {error}") from error


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """(image (1, 224, 224) in [0,1], targets (14,)); read when asked for, so memory does not grow with the folder."""

    def __init__(self, films: list[Film], augment: Augment | None = None) -> None:
        self.films = films
        self.augment = augment

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        film = self.films[index]
        image = load_film(film.path)
        if self.augment is not None:
            image = self.augment(image)
        return image, torch.tensor(film.targets, dtype=torch.float32)


def in_order(films: list[Film], *, batch_size: int, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of every film, in the order given."""
    return DataLoader(FilmDataset(films), batch_size=batch_size, num_workers=workers)
