"""Changes that mean no harm: what a scanner, an archive or a technician may do to a film.

Each is a function of one film, float32 in [0,1], shape (rows, columns) -> the same range, any shape that the
service takes. Clean and changed films alike are then rounded to 8 bits, so that only the change is measured.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Film = NDArray[np.float32]
Change = Callable[[Film], Film]


def _grey(film: Film) -> Image.Image:
    return Image.fromarray((np.clip(film, 0, 1) * 255).round().astype(np.uint8))


def _film(image: Image.Image) -> Film:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def noise(deviation: float) -> Change:
    """Gaussian noise of a standard deviation in units of [0,1]; the same noise for the same shape."""

    def change(film: Film) -> Film:
        grain = np.random.default_rng(0).normal(0, deviation, film.shape)
        return np.clip(film + grain, 0, 1).astype(np.float32)

    return change


def blur(radius: float) -> Change:
    """Gaussian blur; the radius is its standard deviation in pixels."""
    return lambda film: _film(_grey(film).filter(ImageFilter.GaussianBlur(radius)))


def jpeg(quality: int) -> Change:
    """Through a JPEG file of a quality from 1 to 95."""

    def change(film: Film) -> Film:
        stream = io.BytesIO()
        _grey(film).save(stream, format="JPEG", quality=quality)
        return _film(Image.open(stream))

    return change


def gamma(exponent: float) -> Change:
    """Grey to a power: under 1 brightens."""
    return lambda film: np.power(film, np.float32(exponent))


def contrast(factor: float) -> Change:
    """Stretch about the middle grey."""
    return lambda film: np.clip((film - 0.5) * factor + 0.5, 0, 1).astype(np.float32)


def window(low: float, high: float) -> Change:
    """Another window: greys from `low` to `high` fill the range."""
    return lambda film: np.clip((film - low) / (high - low), 0, 1).astype(np.float32)


def crop(share: float) -> Change:
    """Cut a share of the side off each edge."""

    def change(film: Film) -> Film:
        rows, columns = (round(side * share) for side in film.shape)
        return film[rows : film.shape[0] - rows, columns : film.shape[1] - columns]

    return change


def rotation(degrees: float) -> Change:
    """Turn about the middle; the corners become black."""
    return lambda film: _film(_grey(film).rotate(degrees, resample=Image.Resampling.BILINEAR))


def resize(side: int, kernel: Image.Resampling) -> Change:
    """An archive's copy of another size, by another kernel."""
    return lambda film: _film(_grey(film).resize((side, side), kernel))


def burned_in_text(film: Film) -> Film:
    """White letters in a corner, as some scanners burn in."""
    image = _grey(film)
    ImageDraw.Draw(image).text((12, 12), "AP ERECT 14:05", fill=255, font_size=max(14, image.height // 24))
    return _film(image)


def flip(film: Film) -> Film:
    """Mirrored, left for right."""
    return np.ascontiguousarray(film[:, ::-1])


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
