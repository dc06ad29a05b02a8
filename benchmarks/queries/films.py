"""The shared films as the network sees them, and changes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.pipeline import decode, film_tensor
from offline.data.films import Film, read_films

SIDE: Final = 224
Image = NDArray[np.float32]  # (224, 224) in [0, 1], on the 8-bit grid
Change = Callable[[Image, np.random.Generator], Image]


@dataclass(frozen=True)
class FilmSet:
    """Films in the order of patients and follow-ups, shape (N, 224, 224)."""

    films: tuple[Film, ...]
    images: NDArray[np.float32]

    def of(self, *splits: str) -> FilmSet:
        """Those of some splits."""
        kept = [number for number, film in enumerate(self.films) if film.split in splits]
        return FilmSet(tuple(self.films[number] for number in kept), self.images[kept])

    @property
    def same_patient(self) -> NDArray[np.bool_]:
        """Shape (N, N)."""
        patients = np.array([film.patient for film in self.films])
        same: NDArray[np.bool_] = patients[:, None] == patients
        return same


def load(data: Path, *splits: str) -> FilmSet:
    """The shared films of some splits, rounded to the 8 bits of the PNG that would be posted."""
    known = [film for film in read_films(data) if film.split in splits]
    films = sorted(known, key=lambda film: (film.patient, film.path.name))
    images = [film_tensor(decode(film.path.read_bytes())).numpy()[0, 0] for film in films]
    return FilmSet(tuple(films), levels(np.stack(images)))


def levels(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Clip to [0, 1], and round to 8 bits."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.float32) / np.float32(255)


def stripes(image: Image, epsilon: float, draw: np.random.Generator) -> Image:
    """The first query of Square: columns up or down by epsilon."""
    return levels(image + draw.choice([-epsilon, epsilon], (1, SIDE)))


def squares(image: Image, epsilon: float, draw: np.random.Generator, side: int = 90, count: int = 4) -> Image:
    """A later one: some squares over the stripes. 90 pixels are its first squares' (.8 of the film) after a few shrinkings."""
    moved = stripes(image, epsilon, draw)
    for _ in range(count):
        row, column = draw.integers(0, SIDE - side, 2)
        patch = (slice(row, row + side), slice(column, column + side))
        moved[patch] = image[patch] + draw.choice([-epsilon, epsilon])
    return levels(moved)


def shifted(most: float) -> Change:
    """Moved by up to so many pixels each way, the edge repeated."""
    return lambda image, draw: levels(
        ndimage.shift(image, draw.uniform(-most, most, 2), order=1, mode="nearest", output=np.float32)
    )


def turned(most: float) -> Change:
    """Turned by up to so many degrees."""
    return lambda image, draw: levels(
        ndimage.rotate(image, draw.uniform(-most, most), reshape=False, order=1, mode="nearest", output=np.float32)
    )


def cropped(most: float) -> Change:
    """Each edge cut by up to this share, and stretched again."""

    def change(image: Image, draw: np.random.Generator) -> Image:
        top, left, bottom, right = (draw.uniform(0, most, 4) * SIDE).astype(int)
        part = image[top : SIDE - bottom, left : SIDE - right]
        zoom = (SIDE / part.shape[0], SIDE / part.shape[1])
        return levels(ndimage.zoom(part, zoom, order=1, output=np.float32)[:SIDE, :SIDE])

    return change


def noisy(deviation: float) -> Change:
    """Gaussian noise on each pixel."""
    return lambda image, draw: levels(image + draw.normal(0, deviation, image.shape))


def waved(amplitude: float) -> Change:
    """A smooth random pattern over the whole film, of this root mean square: aimed at the descriptor."""

    def change(image: Image, draw: np.random.Generator) -> Image:
        pattern = ndimage.zoom(draw.normal(size=(7, 7)), SIDE / 7, order=1)
        return levels(image + amplitude * pattern / pattern.std())

    return change


def windowed(most: float) -> Change:
    """Brightness and contrast, each changed by up to this share."""

    def change(image: Image, draw: np.random.Generator) -> Image:
        contrast, brightness = draw.uniform(-most, most, 2)
        return levels((image - 0.5) * (1 + contrast) + 0.5 + brightness)

    return change
