"""Mean and scatter of features, streamed and mergeable in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Count, mean (d,) and scatter sum (y - mu)(y - mu)^T (d, d), float64, of the features seen.

    The count may be a fraction if films were weighted.
    """

    n: float
    mean: Array
    scatter: Array

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Moments:
        """Moments of one batch, shape (N, d), N at least 1."""
        values = np.asarray(features, dtype=np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    def weighted(self, weight: float) -> Moments:
        """The moments with each film counted as `weight` of one."""
        return Moments(self.n * weight, self.mean, self.scatter * weight)

    def last(self, count: int) -> Moments:
        """The moments of the last `count` features alone."""
        return Moments(self.n, self.mean[-count:], self.scatter[-count:, -count:])

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together (Chan, Golub & LeVeque 1979). The formula never subtracts large near-equal sums."""
        n = self.n + other.n
        if not other.n or not self.n:  # a shard may be empty
            return self if not other.n else other
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.n / n)
        scatter = self.scatter + other.scatter + np.outer(difference, difference) * (self.n * other.n / n)
        return Moments(n, mean, scatter)

    @property
    def covariance(self) -> Array:
        """Maximum-likelihood covariance S = scatter / n, shape (d, d), before shrinkage."""
        return self.scatter / self.n


def shrink_by_lambda(covariance: Array, ridge: float) -> Array:
    """S + lambda I, as in Li & Zhu 2020."""
    return covariance + ridge * np.eye(len(covariance))


def ledoit_wolf_shrinkage(moments: Moments, sum_of_fourth_powers: float) -> float:
    """Weight rho of the scaled identity in (1 - rho) S + rho (tr S / d) I (Ledoit & Wolf, JMVA 2004, lemma 3.2-3.4).

    Parameters
    ----------
    sum_of_fourth_powers : float
        sum_i ||y_i - mu||^4, from a second pass over the features; it needs no N x N or d x d x N array.
    """
    covariance = moments.covariance
    d, n = len(covariance), moments.n
    scale = float(np.trace(covariance)) / d
    squared_norm = float((covariance**2).sum())
    distance = (squared_norm - d * scale**2) / d
    error = (sum_of_fourth_powers / n - squared_norm) / (n * d)
    return min(max(error, 0.0) / distance, 1.0) if distance > 0 else 1.0


def oas_shrinkage(moments: Moments) -> float:
    """Weight rho of the scaled identity by oracle-approximating shrinkage (Chen et al., IEEE TSP 2010, equation 23).

    rho = (tr S^2 + tr^2 S) / ((n + 1) (tr S^2 - tr^2 S / d)), at most 1. The paper's terms -2/d are left out, as in
    scikit-learn: they vanish at the d = 1024 of these features. Unlike Ledoit-Wolf shrinkage, OAS needs no second pass over
    the features, and assumes that they are Gaussian.
    """
    covariance = moments.covariance
    d = len(covariance)
    squared_norm = float((covariance**2).sum())
    squared_trace = float(np.trace(covariance)) ** 2
    distance = (moments.n + 1.0) * (squared_norm - squared_trace / d)
    return min((squared_norm + squared_trace) / distance, 1.0) if distance > 0 else 1.0


def shrink_towards_identity(covariance: Array, weight: float) -> Array:
    """(1 - rho) S + rho (tr S / d) I, for the weight rho of Ledoit-Wolf or of OAS."""
    d = len(covariance)
    return (1.0 - weight) * covariance + weight * float(np.trace(covariance)) / d * np.eye(d)
