"""Films altered by hand, as in an image editor, without a gradient, network or query. Whole findings appear or disappear.

``splice``     the lungs of another patient's film, matched in grey, with soft edges
``copy_move``  a part of the film itself, mirrored from the other lung
``erase``      a patch filled from its border, with grain of the film's own strength
``draw``       a round shadow, like a nodule

Each is a function of films at their own size, float32 in [0,1], shape (rows, columns). Places and sizes are random shares of
the film, so that the same seed tampers the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, laplace

Film = NDArray[np.float32]
Mask = NDArray[np.float32]  # 1 where the film is changed, 0 where it is not, soft between
#: (film, another patient's film, generator) -> the film, tampered with.
Tampering = Callable[[Film, Film, np.random.Generator], Film]

#: The lungs on a frontal film: centre (row, column) and half axes, in shares of its sides.
LUNGS: Final = ((0.43, 0.30, 0.27, 0.15), (0.43, 0.70, 0.27, 0.15))
#: Width of a soft edge, in shares of the shorter side.
SOFT: Final = 0.02
_FILL_SIDE: Final = 96  # a patch is filled at this size: it is smooth, and the work is that of a small picture
_FILL_STEPS: Final = 400


@dataclass(frozen=True)
class _Spot:
    """An ellipse, in pixels."""

    row: float
    column: float
    height: float
    width: float

    def mask(self, shape: tuple[int, ...], soft: float) -> Mask:
        """1 within, falling to 0 over `soft` pixels."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        distance = np.hypot((rows - self.row) / self.height, (columns - self.column) / self.width)
        edge = max(soft, 1e-6) / min(self.height, self.width)
        return np.clip((1 + edge / 2 - distance) / edge, 0, 1).astype(np.float32)


def _in_a_lung(film: Film, generator: np.random.Generator, size: tuple[float, float]) -> _Spot:
    """A round spot well within one lung. Its radius is a random share of the shorter side, in the range `size`."""
    rows, columns = film.shape
    row, column, high, wide = LUNGS[generator.integers(2)]
    radius = generator.uniform(*size) * min(rows, columns)
    up, along = generator.uniform(-0.5, 0.5, 2)
    return _Spot((row + up * high) * rows, (column + along * wide) * columns, radius, radius)


def _blend(film: Film, other: Film, mask: Mask) -> Film:
    return np.clip(film + mask * (other - film), 0, 1).astype(np.float32)


def _fitted(other: Film, film: Film) -> Film:
    """Another film at the size of this one."""
    size = (film.shape[1], film.shape[0])
    return np.asarray(Image.fromarray(other).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _matched(other: Film, film: Film, where: Mask) -> Film:
    """Another film with this one's mean and spread of greys in a place."""
    weight = where / where.sum()
    means = [float((each * weight).sum()) for each in (other, film)]
    spreads = [
        float(np.sqrt((weight * (each - mean) ** 2).sum())) for each, mean in zip((other, film), means, strict=True)
    ]
    return ((other - means[0]) * (spreads[1] / max(spreads[0], 1e-6)) + means[1]).astype(np.float32)


def splice(film: Film, other: Film, generator: np.random.Generator, soft: float = SOFT) -> Film:
    """Both lungs of the other film in place of this one's; `soft` is the width of the edge."""
    rows, columns = film.shape
    mask = np.zeros(film.shape, np.float32)
    for row, column, high, wide in LUNGS:
        spot = _Spot(row * rows, column * columns, high * rows, wide * columns)
        mask = np.maximum(mask, spot.mask(film.shape, soft * min(rows, columns)))
    return _blend(film, _matched(_fitted(other, film), film, mask), mask)


def hard_splice(film: Film, other: Film, generator: np.random.Generator) -> Film:
    """``splice`` with hard edges."""
    return splice(film, other, generator, soft=0)


def copy_move(film: Film, other: Film, generator: np.random.Generator) -> Film:
    """A part of one lung covered by the mirrored part of the other lung."""
    spot = _in_a_lung(film, generator, (0.06, 0.12))
    mask = spot.mask(film.shape, SOFT * min(film.shape))
    return _blend(film, _matched(film[:, ::-1], film, mask), mask)


def erase(film: Film, other: Film, generator: np.random.Generator) -> Film:
    """A patch filled from its border (the heat equation), with the film's own grain put on it."""
    spot = _in_a_lung(film, generator, (0.04, 0.09))
    mask = spot.mask(film.shape, SOFT * min(film.shape))
    fine = film - gaussian_filter(film, 2)
    grain = generator.permutation(fine[mask > 0])
    filled = _filled(film, mask)
    filled[mask > 0] += grain
    return _blend(film, filled, mask)


def draw(film: Film, other: Film, generator: np.random.Generator) -> Film:
    """A round shadow of 12 to 25 % of the range, brightest in its middle, under the film's own grain."""
    spot = _in_a_lung(film, generator, (0.025, 0.05))
    rows, columns = np.ogrid[: film.shape[0], : film.shape[1]]
    squared = ((rows - spot.row) / spot.height) ** 2 + ((columns - spot.column) / spot.width) ** 2
    return np.clip(film + generator.uniform(0.12, 0.25) * np.exp(-squared), 0, 1).astype(np.float32)


def _filled(film: Film, mask: Mask) -> Film:
    small = np.asarray(Image.fromarray(film).resize((_FILL_SIDE, _FILL_SIDE), Image.Resampling.BOX))
    hole = np.asarray(Image.fromarray(mask).resize((_FILL_SIDE, _FILL_SIDE), Image.Resampling.BOX)) > 0
    heat = small.astype(np.float64)
    heat[hole] = small[~hole].mean()
    for _ in range(_FILL_STEPS):
        heat[hole] += 0.24 * laplace(heat)[hole]
    return _fitted(heat.astype(np.float32), film).copy()


TAMPERINGS: Final[Mapping[str, Tampering]] = MappingProxyType(
    {
        "lungs of another film, soft edges": splice,
        "lungs of another film, hard edges": hard_splice,
        "a part of the other lung, copied": copy_move,
        "a patch erased": erase,
        "a nodule drawn": draw,
    }
)
