"""The site's Gaussian: its films' moments, merged with the base's, which count as so many films."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pipeline.gaussian import Gaussian

from ..moments import Moments

Array = NDArray[np.float64]

#: How many films the base may count as. The likelihood is flat about its best, so that a finer grid finds no more.
PSEUDO_FILMS: Final = (8, 32, 128, 512, 2048, 8192)
FOLDS: Final = 5
#: Under so few films to fit on, the Gaussian stays the base's, and the threshold alone is the site's.
LEAST_FITTED: Final = 10


@dataclass(frozen=True)
class Estimate:
    """The site's Gaussian, and how it came about.

    ``pseudo_films`` is None where the base's Gaussian was kept; ``candidates`` gives the mean log density (nats) of
    films left out of the fit, for each weight that was tried.
    """

    gaussian: Gaussian
    n: int
    pseudo_films: int | None
    candidates: dict[int, float]


def posterior(base: Gaussian, site: Moments, pseudo_films: int) -> Gaussian:
    """Posterior mean of a Gaussian whose conjugate prior has the base's mean and covariance, worth k films.

    With a normal-inverse-Wishart prior of kappa_0 = k and nu_0 = k + d + 1, centred on (mu_0, S_0), and n films of
    mean y and scatter A (Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.6):

        E[mu]    = (k mu_0 + n y) / (k + n)
        E[Sigma] = (k S_0 + A + k n / (k + n) (y - mu_0)(y - mu_0)^T) / (k + n)

    which are the merged moments of n site films and k films with the base's own. S_0 holds the base's lambda, so the
    result is positive definite however few the films are.

    Parameters
    ----------
    base : Gaussian, of d features
    site : Moments, of the same
    pseudo_films : int
        k, at least 1: the weight of the base.
    """
    covariance = base.cholesky_factor @ base.cholesky_factor.T
    merged = Moments(pseudo_films, base.mean, pseudo_films * covariance).merge(site)
    factor = np.linalg.cholesky(merged.covariance)
    return Gaussian(merged.mean, factor.astype(np.float64, copy=False))


def estimate(base: Gaussian, features: NDArray[np.floating], patients: NDArray[np.str_]) -> Estimate:
    """The posterior with the k under which films left out of it are likeliest, in folds by patient.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        Of the films to fit on.
    patients : ndarray, shape (n,)
    """
    people = np.unique(patients)
    if len(features) < LEAST_FITTED or len(people) < FOLDS:
        return Estimate(base, 0, None, {})
    fold_of = np.searchsorted(people, patients) % FOLDS
    parts = [Moments.of(features[fold_of == fold]) for fold in range(FOLDS)]
    candidates = dict.fromkeys(PSEUDO_FILMS, 0.0)
    for left_out in range(FOLDS):
        rest = reduce(Moments.merge, parts[:left_out] + parts[left_out + 1 :])
        for k in PSEUDO_FILMS:
            densities = posterior(base, rest, k).log_density(features[fold_of == left_out])
            candidates[k] += float(densities.sum()) / len(features)
    best = max(candidates, key=lambda k: candidates[k])
    return Estimate(posterior(base, reduce(Moments.merge, parts), best), len(features), best, candidates)
