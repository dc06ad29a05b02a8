"""One Gaussian: the paper's gate, the same after PCA, and the relative Mahalanobis distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.pipeline.gate import Gate
from app.pipeline.gaussian import Gaussian

from ..data.films import FilmsError
from ..gate.fit import BLOCK, Covariance, FitOptions, fit_gaussian, moments_of
from ..gate.moments import shrink_by_lambda
from .protocol import Array, Fitted, Observed, Unsupervised, as_float64, fitted, require_films


@dataclass(frozen=True)
class MultivariateGaussian(Unsupervised):
    """MGM, the gate of Li & Zhu (ISBI 2020): log density under one Gaussian, in nats.

    ``ridge`` is the lambda added to the diagonal; ``ledoit-wolf`` and ``oas`` find their own weight.
    """

    covariance: Covariance = "lambda"
    ridge: float = 1e-2

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, 2, "MGM")
        gaussian, _ = fit_gaussian(clean.features, FitOptions(covariance=self.covariance, ridge=self.ridge))
        return fitted(clean, lambda films: gaussian.log_density(films.features))


@dataclass(frozen=True)
class Given(Unsupervised):
    """A gate that was fitted before, such as a bundle's. ``fit`` does not change it."""

    gate: Gate

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        return fitted(clean, lambda films: self.gate.log_density(films.gate_features))


@dataclass(frozen=True)
class Projection:
    """The leading principal axes: mean (d,), axes (d, c) and the variance (c,) along each, descending, float64."""

    mean: Array
    axes: Array
    variances: Array

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """Coordinates along the axes, shape (N, d) -> (N, c), float64."""
        return np.asarray((as_float64(features) - self.mean) @ self.axes)


def principal_axes(features: NDArray[np.float32], explained: float) -> Projection:
    """The fewest principal axes that hold a share `explained` (0 to 1] of the variance of features, shape (N, d)."""
    if not 0 < explained <= 1:
        raise ValueError(f"explained is {explained:g}; it must be over 0 and at most 1")
    moments = moments_of(features)
    variances, axes = np.linalg.eigh(moments.covariance)
    variances, axes = variances[::-1].clip(min=0), axes[:, ::-1]
    if variances[0] == 0:
        raise FilmsError("the films to fit on all have the same features; there are no principal axes")
    share = np.cumsum(variances) / variances.sum()
    # n films span n - 1 dimensions; further axes from eigh are rounding error.
    count = min(int(np.searchsorted(share, explained)) + 1, int(moments.n) - 1, len(variances))
    return Projection(moments.mean, np.ascontiguousarray(axes[:, :count]), variances[:count].copy())


@dataclass(frozen=True)
class PrincipalGaussian(Unsupervised):
    """PCA before MGM (Li & Zhu's future work): far fewer parameters, so fewer films to fit on.

    Along principal axes the covariance is diagonal, so its Cholesky factor needs no second pass. A change at right angles to all
    kept axes does not change the score, which an attacker may use.
    """

    explained: float = 0.95
    ridge: float = 1e-2

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, 3, "PCA before MGM")
        project = principal_axes(clean.features, self.explained)
        gaussian = Gaussian(np.zeros(len(project.variances)), np.diag(np.sqrt(project.variances + self.ridge)))
        return fitted(clean, lambda films: gaussian.log_density(project(films.features)))


@dataclass(frozen=True)
class RelativeMahalanobis(Unsupervised):
    """Relative Mahalanobis distance (Ren et al. 2106.09022), negated.

    MD_k^2(y) - MD_0^2(y): squared distance from the mean of class k under a covariance shared by the classes, minus the squared
    distance from the background Gaussian over all films. Directions in which all films vary alike then cancel.

    It is adapted in three ways, since findings are not exclusive and clean films need not have one. The class of a film is its
    *predicted* top finding, in fitting and in scoring, which needs no labels. The paper takes the nearest class; this class
    takes the predicted one, so that features of another finding than the answer are far away. A finding that is predicted for
    fewer than ``least_films`` has no own mean: its films are measured from the mean of all films.
    """

    ridge: float = 1e-2
    least_films: int = 5

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, 2, "relative Mahalanobis")
        moments = moments_of(clean.features)
        top = clean.top_finding
        means = np.tile(moments.mean, (clean.logits.shape[1], 1))
        for finding in np.unique(top):
            members = np.flatnonzero(top == finding)
            if len(members) >= self.least_films:
                means[finding] = clean.features[members].mean(axis=0, dtype=np.float64)
        d = clean.features.shape[1]
        within = np.zeros((d, d))
        for start in range(0, len(clean), BLOCK):
            rows = slice(start, start + BLOCK)
            centred = as_float64(clean.features[rows]) - means[top[rows]]
            within += centred.T @ centred
        class_factor = _factor(within / len(clean), self.ridge)
        shared = Gaussian(np.zeros(d), class_factor)
        background = Gaussian(moments.mean, _factor(moments.covariance, self.ridge))

        def score(films: Observed) -> Array:
            from_class = shared.mahalanobis_squared(as_float64(films.features) - means[films.top_finding])
            return background.mahalanobis_squared(films.features) - from_class

        return fitted(clean, score)


def _factor(covariance: Array, ridge: float) -> Array:
    try:
        factor: Array = np.linalg.cholesky(shrink_by_lambda(covariance, ridge)).astype(np.float64, copy=False)
    except np.linalg.LinAlgError as error:
        raise FilmsError("the covariance is not positive definite: use more films, or a larger ridge") from error
    return factor
