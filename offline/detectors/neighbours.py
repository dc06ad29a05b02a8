"""Distances to clean films: kernel density and local intrinsic dimensionality, used without attacked films.

Ma et al. (1907.10456) train a logistic regression on these measures of clean and attacked images. Here each measure is a score
by itself. Both use features that are not standardised, like the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from ..data.films import FilmsError
from .protocol import BLOCK, Array, Fitted, Observed, Unsupervised, as_float64, fitted, require_films, subsample

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class KernelDensity(Unsupervised):
    """Log of the mean of Gaussian kernels centred on clean films, in nats (Feinman et al. 1703.00410).

    Attributes
    ----------
    bandwidth : float or None
        Standard deviation of the kernels, in units of the features. None: the median distance of a fitting
        film to its nearest other, since rules of thumb from few dimensions (Silverman) are far off in 1024.
    references : int
        Most clean films that are kept, drawn by ``seed``: each is visited for every scored film.
    """

    bandwidth: float | None = None
    references: int = 10_000
    seed: int = 0

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, 2, "kernel density")
        centres = as_float64(subsample(clean, self.references, self.seed).features)
        bandwidth = _median_nearest(centres) if self.bandwidth is None else self.bandwidth
        if not bandwidth > 0:
            raise FilmsError("half of the films to fit on have a twin, so no bandwidth follows: leave out copies")
        n, d = centres.shape
        log_norm = math.log(n) + d * math.log(bandwidth) + d / 2 * math.log(2 * math.pi)

        def score(films: Observed) -> Array:
            squared = cdist(as_float64(films.features), centres, "sqeuclidean")
            return np.asarray(logsumexp(-squared / (2 * bandwidth**2), axis=1) - log_norm)

        return fitted(clean, score)


@dataclass(frozen=True)
class LocalIntrinsicDimensionality(Unsupervised):
    """Minus the local intrinsic dimensionality about a film (Ma et al. 1801.02613, 1907.10456).

    The maximum-likelihood estimate (Amsaleg et al., KDD 2015) from distances r_1 <= ... <= r_k to the k
    nearest clean films: LID = -(1/k sum_i log(r_i / r_k))^-1. If a film lies apart from all clean films, these distances are
    nearly equal and LID is high. Such a film is less typical, so LID is negated.

    Ma et al. take neighbours within minibatches of 100; here they come from all ``references`` clean films. A fitting film is its
    own neighbour at distance 0 and scores too high, as with any detector.
    """

    neighbours: int = 20
    references: int = 10_000
    seed: int = 0

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        if self.neighbours < 2:
            raise ValueError(f"neighbours is {self.neighbours}; one distance says nothing of a dimension")
        require_films(clean, self.neighbours + 1, f"LID with {self.neighbours} neighbours")
        reference = as_float64(subsample(clean, self.references, self.seed).features)
        if len(reference) < self.neighbours:
            raise ValueError(f"{self.references} references are fewer than {self.neighbours} neighbours")
        return fitted(clean, lambda films: -lid(as_float64(films.features), reference, self.neighbours))


def lid(features: Array, reference: Array, neighbours: int) -> Array:
    """Local intrinsic dimensionality of features, shape (N, d), among reference films, shape (M, d) -> (N,)."""
    distances = np.partition(cdist(features, reference), neighbours - 1, axis=1)[:, :neighbours]
    # Copies of a reference film are at distance 0, whose logarithm is kept finite.
    nearest = np.maximum(distances, _TINY)
    ratios = np.log(nearest / nearest.max(axis=1, keepdims=True))
    # All k at one distance would divide by zero; 1e-12 is under what rounding leaves of such a mean.
    estimate: Array = 1.0 / np.maximum(-ratios.mean(axis=1), 1e-12)
    return estimate


def _median_nearest(centres: Array) -> float:
    nearest = []
    for start in range(0, len(centres), BLOCK):
        distances = cdist(centres[start : start + BLOCK], centres)
        distances[np.arange(len(distances)), start + np.arange(len(distances))] = np.inf
        nearest.append(distances.min(axis=1))
    return float(np.median(np.concatenate(nearest)))
