"""Harmless changes, which a scanner, an archive or a technician may make to a film.

Each change is a function of one film, float32 in [0,1], shape (rows, columns). It returns a film of the same range and of any
shape that the service takes. Clean and changed films are then rounded to 8 bits, so that only the change is measured.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

#: Share of the films changed by ``drawn`` that also get letters.
LETTERED: Final = 1 / 3

Film = NDArray[np.float32]
Change = Callable[[Film], Film]


def _grey(film: Film) -> Image.Image:
    return Image.fromarray((np.clip(film, 0, 1) * 255).round().astype(np.uint8))


def _film(image: Image.Image) -> Film:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def noise(deviation: float) -> Change:
    """Gaussian noise; its standard deviation is in units of [0,1]. Films of the same shape get the same noise."""

    return lambda film: _grained(film, deviation, np.random.default_rng(0))


def _grained(film: Film, deviation: float, generator: np.random.Generator) -> Film:
    return np.clip(film + generator.normal(0, deviation, film.shape), 0, 1).astype(np.float32)


def blur(radius: float) -> Change:
    """Gaussian blur; the radius is its standard deviation in pixels."""
    return lambda film: _film(_grey(film).filter(ImageFilter.GaussianBlur(radius)))


def jpeg(quality: int) -> Change:
    """Compression in a JPEG file, at a quality from 1 to 95."""

    def change(film: Film) -> Film:
        stream = io.BytesIO()
        _grey(film).save(stream, format="JPEG", quality=quality)
        return _film(Image.open(stream))

    return change


def gamma(exponent: float) -> Change:
    """Each grey value to a power; an exponent under 1 brightens."""
    return lambda film: np.power(film, np.float32(exponent))


def contrast(factor: float) -> Change:
    """Stretch grey values about the middle grey, 0.5."""
    return lambda film: np.clip((film - 0.5) * factor + 0.5, 0, 1).astype(np.float32)


def window(low: float, high: float) -> Change:
    """Another window: grey values from `low` to `high` fill the range [0,1]."""
    return lambda film: np.clip((film - low) / (high - low), 0, 1).astype(np.float32)


def crop(share: float) -> Change:
    """Cut a share of the side off each edge."""

    def change(film: Film) -> Film:
        rows, columns = (round(side * share) for side in film.shape)
        return film[rows : film.shape[0] - rows, columns : film.shape[1] - columns]

    return change


def rotation(degrees: float) -> Change:
    """Rotation about the middle; the corners become black."""
    return lambda film: _film(_grey(film).rotate(degrees, resample=Image.Resampling.BILINEAR))


def resize(side: int, kernel: Image.Resampling) -> Change:
    """An archive's copy, resized to `side` by `side` pixels with `kernel`."""
    return lambda film: _film(_grey(film).resize((side, side), kernel))


def burned_in_text(film: Film) -> Film:
    """White letters in a corner, as some scanners burn them in."""
    image = _grey(film)
    ImageDraw.Draw(image).text((12, 12), "AP ERECT 14:05", fill=255, font_size=max(14, image.height // 24))
    return _film(image)


def lettered(generator: np.random.Generator) -> Change:
    """One to three lines of white or nearly white letters somewhere on the film, like a marker, a view's name or a time."""
    lines = [
        "".join(generator.choice(list("ABDEILMNOPRSTUW0123456789 :-"), generator.integers(1, 16)))
        for _ in range(generator.integers(1, 4))
    ]
    left, top = generator.uniform(0, 0.8), generator.uniform(0, 0.9)
    share, fill = generator.uniform(1 / 50, 1 / 16), int(generator.integers(190, 256))

    def change(film: Film) -> Film:
        image = _grey(film)
        place = (round(left * image.width), round(top * image.height))
        size = max(8, round(share * image.height))
        ImageDraw.Draw(image).multiline_text(place, "\n".join(lines), fill=fill, font_size=size)
        return _film(image)

    return change


def flip(film: Film) -> Film:
    """The film mirrored, left for right."""
    return np.ascontiguousarray(film[:, ::-1])


def drawn(generator: np.random.Generator) -> Change:
    """One or two changes of random kind and strength. A gate is fitted to accept them.

    Noise of a deviation up to .0075, gamma from .7 to 1.4, contrast from .8 to 1.25, JPEG from quality 60 to 95, a blur up to
    one pixel, a rotation up to 4 degrees, a crop up to 5 %, a copy of another size; on one film in three also letters. The
    ranges were not tuned to ``CHANGES``, which measure the gate.
    """

    deviation = generator.uniform(0, 0.0075)
    kernel = (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)[generator.integers(3)]
    kinds: list[Change] = [
        lambda film: _grained(film, deviation, generator),
        gamma(float(np.exp(generator.uniform(np.log(0.7), np.log(1.4))))),
        contrast(float(generator.uniform(0.8, 1.25))),
        jpeg(int(generator.integers(60, 96))),
        blur(float(generator.uniform(0, 1))),
        rotation(float(generator.uniform(-4, 4))),
        crop(float(generator.uniform(0, 0.05))),
        resize(int(generator.integers(300, 1025)), kernel),
    ]
    chosen = [kinds[index] for index in generator.permutation(len(kinds))[: generator.integers(1, 3)]]
    if generator.random() < LETTERED:
        chosen.insert(0, lettered(generator))

    def change(film: Film) -> Film:
        for kind in chosen:
            film = kind(film)
        return film

    return change


#: In the order of the report.
CHANGES: Final[Mapping[str, Change]] = MappingProxyType(
    {
        "none": lambda film: film,
        "noise sd .005": noise(0.005),
        "noise sd .01": noise(0.01),
        "blur 1 pixel": blur(1),
        "JPEG quality 90": jpeg(90),
        "JPEG quality 75": jpeg(75),
        "gamma .8": gamma(0.8),
        "gamma 1.25": gamma(1.25),
        "contrast 1.2": contrast(1.2),
        "window 5 to 95 %": window(0.05, 0.95),
        "crop 5 %": crop(0.05),
        "rotation 5 degrees": rotation(5),
        "rotation 90 degrees": rotation(90),
        "flip": flip,
        "resize to 1024, Lanczos": resize(1024, Image.Resampling.LANCZOS),
        "resize to 300, nearest": resize(300, Image.Resampling.NEAREST),
        "burned-in text": burned_in_text,
    }
)
