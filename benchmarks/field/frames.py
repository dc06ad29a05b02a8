"""Films in frames, as archives and exports leave them: borders, bars, collimation. For tests and benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Film = NDArray[np.float32]  # shape (rows, columns), in [0, 1]


def chest(rows: int = 320, columns: int = 300, seed: int = 0) -> Film:
    """A picture with a chest film's greys that is textured up to its edges."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    ribs = 0.06 * np.sin(y / 6) * np.cos(x / 40)
    lungs = 0.35 * sum(
        np.exp(-(((x / columns - at) / 0.14) ** 2) - ((y / rows - 0.45) / 0.28) ** 2) for at in (0.3, 0.7)
    )
    return np.clip(0.62 - lungs + ribs + generator.normal(0, 0.012, (rows, columns)), 0.08, 0.95).astype(np.float32)


def bordered(film: Film, width: int, grey: float) -> Film:
    return np.pad(film, width, constant_values=grey)


def barred(film: Film, share: float, grey: float, axis: int) -> Film:
    """Bars of a share of a side: beside the film (axis 1), or above and below it (axis 0)."""
    width = round(film.shape[axis] * share)
    return np.pad(film, [(width, width) if which == axis else (0, 0) for which in (0, 1)], constant_values=grey)


def collimated(
    film: Film, share: float, *, grey: float = 0.0, grain: float = 0.0, kept: float = 0.0, degrees: float = 0.0
) -> Film:
    """Outside of a rectangle, turned by some degrees, there is a grey with grain, and a little of the film."""
    rows, columns = film.shape
    mask = Image.new("L", (4 * columns, 4 * rows), 0)
    corners = turned_rectangle(rows, columns, share, degrees)
    ImageDraw.Draw(mask).polygon([(4 * x - 0.5, 4 * y - 0.5) for x, y in corners], fill=255)
    inside = np.asarray(mask.resize((columns, rows), Image.Resampling.BOX), np.float32) / 255
    outside = grey + kept * film + np.random.default_rng(0).normal(0, 1, film.shape).astype(np.float32) * grain
    return np.clip(film * inside + outside * (1 - inside), 0, 1).astype(np.float32)


def rounded(film: Film, radius: float, grey: float = 0.0) -> Film:
    """Of one grey outside of a circle about the middle; the radius is a share of the shorter side."""
    rows, columns = film.shape
    y, x = np.mgrid[:rows, :columns] + 0.5
    seen = (x - columns / 2) ** 2 + (y - rows / 2) ** 2 < (radius * min(rows, columns)) ** 2
    return np.where(seen, film, np.float32(grey))


def eight_sided(film: Film, cut: float, grey: float = 0.0) -> Film:
    """Of one grey in the four corners, each cut off by a share of the sides."""
    rows, columns = film.shape
    y, x = np.mgrid[:rows, :columns] + 0.5
    beside = np.minimum(x / columns, 1 - x / columns) + np.minimum(y / rows, 1 - y / rows)
    return np.where(beside > cut, film, np.float32(grey))


def turned_rectangle(rows: int, columns: int, share: float, degrees: float) -> list[tuple[float, float]]:
    """Corners (column, row) of the rectangle that a collimator leaves, turned about the film's middle."""
    half_width, half_height = columns * (0.5 - share), rows * (0.5 - share)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    around = [
        (-half_width, -half_height),
        (half_width, -half_height),
        (half_width, half_height),
        (-half_width, half_height),
    ]
    return [(columns / 2 + x * cosine - y * sine, rows / 2 + x * sine + y * cosine) for x, y in around]


def lettered(film: Film, at: tuple[int, int], text: str = "PORTABLE") -> Film:
    """With white letters burned in, (column, row) being their corner."""
    picture = Image.fromarray(film)
    ImageDraw.Draw(picture).text(at, text, fill=1.0, font=ImageFont.load_default(size=14))
    return np.asarray(picture)
