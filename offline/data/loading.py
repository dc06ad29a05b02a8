"""Films -> batches of tensors, through the same decoding and preprocessing as in the service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from app.pipeline.decode import decode
from app.pipeline.errors import InputError
from app.pipeline.image import DecodedImage
from app.pipeline.preprocess import film_tensor, picture_tensor

from .films import Film, FilmsError

Augment = Callable[[Tensor], Tensor]
#: (the film's place in the list, its pixels at its own size, in [0,1]) -> pixels in [0,1], of any size.
Change = Callable[[int, NDArray[np.float32]], NDArray[np.float32]]


def load_film(path: Path) -> Tensor:
    """One film, shape (1, 224, 224), float32, in [0,1]; raises as ``load_decoded``."""
    return film_tensor(load_decoded(path))[0]


def load_pixels(path: Path) -> NDArray[np.float32]:
    """One whole film at its own size, beyond its exposed field too, shape (rows, columns), float32, in [0,1].

    Raises as ``load_decoded``.
    """
    return load_decoded(path).pixels


def load_decoded(path: Path) -> DecodedImage:
    """One decoded film, with its exposed field.

    Raises
    ------
    FilmsError
        The file cannot be decoded; the message names the file and says why.
    """
    try:
        return decode(path.read_bytes())
    except InputError as error:
        raise FilmsError(f"{path}: {error}") from error


def as_written(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels clipped to [0,1] and rounded to 8 bits, as a file stores them; any shape, float32."""
    return (np.clip(pixels, 0, 1) * 255).round().astype(np.float32) / np.float32(255)


class FilmDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of an image (1, 224, 224) in [0,1] and targets (L,).

    Each film is read when it is needed, so that memory does not grow with the folder.

    Parameters
    ----------
    augment : Augment or None
        Changes the network's input.
    change : Change or None
        Changes the film itself, which is then rounded to 8 bits, like a posted film.
    pixels : Tensor, shape (N, 1, 224, 224), or None
        The films from ``keep_pixels``, which are then not decoded again.
    """

    def __init__(
        self,
        films: list[Film],
        augment: Augment | None = None,
        change: Change | None = None,
        pixels: Tensor | None = None,
    ) -> None:
        self.films = films
        self.augment = augment
        self.change = change
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        film = self.films[index]
        if self.pixels is not None:
            image = self.pixels[index].clone()
        elif self.change is None:
            image = load_film(film.path)
        else:
            image = picture_tensor(as_written(self.change(index, load_pixels(film.path))))[0]
        if self.augment is not None:
            image = self.augment(image)
        return image, torch.tensor(film.targets, dtype=torch.float32)


#: Most films that training keeps in memory, .2 MB each. If there are more, each epoch decodes all of them again.
MOST_KEPT = 10_000


def keep_pixels(films: list[Film], workers: int) -> Tensor | None:
    """All films from ``load_film``, shape (N, 1, 224, 224), float32; None if they are too many to keep.

    Decoding a film takes about half as long as training on it, and each epoch would decode it again.
    """
    if len(films) > MOST_KEPT:
        return None
    batches = tqdm(in_order(films, batch_size=16, workers=workers), desc="decoding films", unit="batch")
    return torch.cat([images for images, _ in batches])


def in_order(
    films: list[Film], *, batch_size: int, workers: int, change: Change | None = None
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of every film, in the order given."""
    return DataLoader(FilmDataset(films, change=change), batch_size=batch_size, num_workers=workers)
