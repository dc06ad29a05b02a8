"""Is it a frontal chest film at all? A small network and a subspace, on a picture reduced to 32 x 32.

Each of its pixels is a mean of 7 x 7 pixels of the gate's input, and small changes of single pixels hardly move it.
So the gate sees what an attacker did to a chest film, and this check does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from .orientation import SENSES

Array = NDArray[np.float64]

SIDE: Final = 32
#: The possible kinds of a picture, in the order of the network's outputs; the first is right.
KINDS: Final = ("is a frontal chest film", "looks like a lateral view", "is no frontal chest film")
LATERAL, OTHER = KINDS[1:]
#: Deviation of a picture's greys under which they are not stretched further.
LEAST_DEVIATION: Final = 0.02
#: Names and shapes of the network's arrays. Three convolutions of 3 x 3, each with ReLU and a pooling of 2 x 2 (the
#: largest, the largest, the mean), then a linear layer on the 4 x 4 places that remain.
SHAPES: Final = {
    "convolution_1": (12, 1, 3, 3),
    "bias_1": (12,),
    "convolution_2": (24, 12, 3, 3),
    "bias_2": (24,),
    "convolution_3": (32, 24, 3, 3),
    "bias_3": (32,),
    "weights": (3, 512),
    "bias": (3,),
}


def thumbnails(images: NDArray[np.floating]) -> Array:
    """The gate's input, shape (N, 1, 224, 224), in [0, 1] -> shape (N, 32, 32): block means, of mean 0 and deviation 1."""
    n, _, rows, columns = images.shape
    blocks = np.asarray(images, dtype=np.float64).reshape(n, SIDE, rows // SIDE, SIDE, columns // SIDE)
    return normalised(blocks.mean(axis=(2, 4)))


def normalised(pictures: NDArray[np.floating]) -> Array:
    """Each picture's mean to 0 and its deviation to 1, shape (N, 32, 32); a flat one is not stretched to noise."""
    centred = np.asarray(pictures, dtype=np.float64) - pictures.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), LEAST_DEVIATION))


def turned_back(thumbnail: Array, sense: str) -> Array:
    """A thumbnail, shape (32, 32), of a film that is turned or inverted in this sense -> upright, as for reading."""
    upright, left, right, upside_down, inverted = SENSES
    turns = {upright: 0, left: -1, right: 1, upside_down: 2}
    return -thumbnail if sense == inverted else np.rot90(thumbnail, turns[sense])


@dataclass(frozen=True)
class Content:
    """A small convolutional network over ``KINDS``, and the subspace in which thumbnails of frontal chest films lie.

    A film is refused if either refuses it. Neither was fitted on attacks, and neither sees them.

    Attributes
    ----------
    arrays : dict of ndarray, float32
        The network's, named and shaped as in ``SHAPES``.
    mean : ndarray, shape (1024,), float32
    basis : ndarray, shape (k, 1024), float32
        Orthonormal rows: the principal components of thumbnails of frontal chest films.
    least_log_odds : float
        Log odds in nats of a frontal chest film against the rest; a film below it is refused.
    most_unexplained : float
        Mean square of the part of a thumbnail that mean and basis do not explain; that of the whole is 1. A film
        above it is refused.
    """

    arrays: dict[str, NDArray[np.float32]]
    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    least_log_odds: float
    most_unexplained: float
    _wide: dict[str, Array] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if shapes != dict(SHAPES):
            raise ValueError(f"the network's arrays have shapes {shapes}; expected {SHAPES}")
        if self.mean.shape != (SIDE**2,) or self.basis.ndim != 2 or self.basis.shape[1] != SIDE**2:
            raise ValueError(f"mean has shape {self.mean.shape}, basis {self.basis.shape}; expected {SIDE**2} columns")
        every = {**self.arrays, "mean": self.mean, "basis": self.basis}
        if not all(np.isfinite(array).all() for array in every.values()):
            raise ValueError("arrays must be finite")
        if not np.allclose(self.basis @ self.basis.T, np.eye(len(self.basis)), atol=1e-4):
            raise ValueError("basis must have orthonormal rows")
        object.__setattr__(self, "_wide", {name: np.asarray(array, dtype=np.float64) for name, array in every.items()})

    def logits(self, thumbnails: Array) -> Array:
        """Shape (N, 32, 32) -> the network's logits, shape (N, 3), in the order of ``KINDS``."""
        wide = self._wide
        maps = thumbnails[:, None]
        for layer in ("1", "2", "3"):
            maps = _convolved(maps, wide[f"convolution_{layer}"], wide[f"bias_{layer}"]).clip(0)
            maps = _averaged(maps) if layer == "3" else _pooled(maps)
        return np.asarray(maps.reshape(len(maps), -1) @ wide["weights"].T + wide["bias"])

    def log_odds(self, thumbnails: Array) -> Array:
        """Log odds of a frontal chest film against all else, in nats, shape (N,)."""
        return _log_odds(self.logits(thumbnails))

    def unexplained(self, thumbnails: Array) -> Array:
        """Mean square of the part of thumbnails that mean and basis do not explain, shape (N, 32, 32) -> (N,)."""
        centred = thumbnails.reshape(len(thumbnails), -1) - self._wide["mean"]
        left = centred - (centred @ self._wide["basis"].T) @ self._wide["basis"]
        return np.asarray((left**2).mean(axis=1))

    def kinds(self, thumbnails: Array) -> list[str | None]:
        """The kind of each picture, of ``KINDS``; None if it is a frontal chest film. Shape (N, 32, 32)."""
        logits = self.logits(thumbnails)
        seen = _log_odds(logits) < self.least_log_odds
        strange = self.unexplained(thumbnails) > self.most_unexplained
        lateral = seen & (logits[:, 1] >= logits[:, 2])
        return [LATERAL if a else OTHER if b else None for a, b in zip(lateral, seen | strange, strict=True)]

    def faults(self, images: NDArray[np.floating], senses: list[str | None]) -> list[str | None]:
        """The kind of each picture; None if it is a frontal chest film, or would be one if it were turned back.

        Parameters
        ----------
        images : ndarray, shape (N, 1, 224, 224), in [0, 1]
        senses : list of str or None
            How each is turned, from ``Orientation.faults``.
        """
        small = thumbnails(images)
        kinds = self.kinds(small)
        doubtful = [i for i, (kind, sense) in enumerate(zip(kinds, senses, strict=True)) if kind and sense]
        if doubtful:
            upright = np.stack([turned_back(small[i], senses[i] or "") for i in doubtful])
            for i, kind in zip(doubtful, self.kinds(upright), strict=True):
                kinds[i] = kinds[i] if kind else None
        return kinds


def _log_odds(logits: Array) -> Array:
    return np.asarray(logits[:, 0] - logsumexp(logits[:, 1:], axis=1))


def _convolved(maps: Array, kernels: Array, bias: Array) -> Array:
    """Cross-correlation, zeros beyond the edge: shapes (N, C, H, W), (K, C, 3, 3), (K,) -> (N, K, H, W).

    A small product for each place of the kernel: one large product would wake BLAS's other threads, which then take several
    times as much CPU as the work.
    """
    n, channels, rows, columns = maps.shape
    padded = np.zeros((n, channels, rows + 2, columns + 2))
    padded[:, :, 1:-1, 1:-1] = maps
    found = np.tile(bias[:, None], (n, 1, rows * columns))
    for down in range(3):
        for across in range(3):
            shifted = padded[:, :, down : down + rows, across : across + columns].reshape(n, channels, -1)
            found += kernels[:, :, down, across] @ shifted
    return found.reshape(n, len(kernels), rows, columns)


def _pooled(maps: Array) -> Array:
    """The largest of each 2 x 2 places."""
    higher = np.maximum(maps[:, :, ::2], maps[:, :, 1::2])
    return np.maximum(higher[..., ::2], higher[..., 1::2])


def _averaged(maps: Array) -> Array:
    """The mean of each 2 x 2 places."""
    both = maps[:, :, ::2] + maps[:, :, 1::2]
    return (both[..., ::2] + both[..., 1::2]) / 4
