"""The site's Gaussian: moments of the site's films, merged with the base's moments, which count as a number of films."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pipeline.gate import Density
from app.pipeline.gaussian import Gaussian

from ..data.films import FilmsError
from ..gate.moments import Moments

Array = NDArray[np.float64]

#: Numbers of films that the base may count as. The likelihood is flat around its maximum, so that a finer grid gains nothing.
PSEUDO_FILMS: Final = (8, 32, 128, 512, 2048, 8192)
FOLDS: Final = 5
#: Share of the base's ridge that the prior keeps. The whole ridge hides attacks of one step if another scanner's films vary
#: little. docs/recalibration.md gives the cost.
RIDGE_KEPT: Final = 0.1


@dataclass(frozen=True)
class SiteEstimate:
    """The site's Gaussian, and how it was estimated.

    Attributes
    ----------
    gaussian : Gaussian
        Fitted on all of the site's films.
    folds : tuple of Gaussian, length FOLDS
        Each is fitted on all films outside one fold. A film is judged by the Gaussian that has not seen its patient.
    fold_of : ndarray, shape (n,), int
    pseudo_films : int
        Number of films that the base counts as.
    candidates : dict
        Tried number of films -> mean log density (nats) of left-out films.
    """

    gaussian: Gaussian
    folds: tuple[Gaussian, ...]
    fold_of: NDArray[np.intp]
    pseudo_films: int
    candidates: dict[int, float]

    def held_out(self, features: NDArray[np.floating], films: NDArray[np.intp]) -> Array:
        """Log densities in nats of some films or of their attacked copies, each under its fold's Gaussian.

        Parameters
        ----------
        features : ndarray, shape (M, d)
        films : ndarray, shape (M,), int
            Each row's index among the n films.
        """
        densities = np.empty(len(features))
        for fold, gaussian in enumerate(self.folds):
            mine = self.fold_of[films] == fold
            if mine.any():
                densities[mine] = gaussian.log_density(features[mine])
        return densities


def posterior(base: Moments, site: Moments, pseudo_films: int) -> Gaussian:
    """Posterior mean of a Gaussian whose conjugate prior has the base's mean and covariance, worth k films.

    With a normal-inverse-Wishart prior of kappa_0 = k and nu_0 = k + d + 1, centred on (mu_0, S_0), and n films of
    mean y and scatter A (Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.6):

        E[mu]    = (k mu_0 + n y) / (k + n)
        E[Sigma] = (k S_0 + A + k n / (k + n) (y - mu_0)(y - mu_0)^T) / (k + n)

    These are the merged moments of n site films and of k films with the base's moments. S_0 holds the base's lambda, so the
    result is positive definite even with few films.

    Parameters
    ----------
    base, site : Moments, of d features
    pseudo_films : int
        k, at least 1: the weight of the base, independent of its own n.
    """
    merged = Moments(pseudo_films, base.mean, pseudo_films * base.covariance).merge(site)
    factor = np.linalg.cholesky(merged.covariance)
    return Gaussian(merged.mean, factor.astype(np.float64, copy=False))


def moments_of(gaussian: Gaussian) -> Moments:
    """The Gaussian as moments of one film: its mean, and its covariance as scatter."""
    return Moments(1, gaussian.mean, gaussian.cholesky_factor @ gaussian.cholesky_factor.T)


def prior_of(base: Density, shrinkage: str) -> Moments:
    """The base's moments without most of its ridge.

    The ridge helped when films were few. The site's films add knowledge about directions in which films hardly vary, and weak
    attacks show in these directions. The covariance stays positive definite, even if the base was recalibrated before.

    Parameters
    ----------
    shrinkage : str
        Shrinkage in the base's manifest, such as ``lambda=0.01``. Another kind has no ridge, and is not changed.

    Raises
    ------
    FilmsError
        The base's gate is of another kind.
    """
    if not isinstance(base, Gaussian):
        raise FilmsError("only a Gaussian gate (mgm) can be moved to a site; fit this one anew, on the site's films")
    moments = moments_of(base)
    if not shrinkage.startswith("lambda="):
        return moments
    ridge = min(float(shrinkage.removeprefix("lambda=")), float(np.linalg.eigvalsh(moments.scatter)[0]))
    return Moments(1, moments.mean, moments.scatter - (1 - RIDGE_KEPT) * ridge * np.eye(len(moments.mean)))


def estimate(prior: Moments, features: NDArray[np.floating], patients: NDArray[np.str_], seed: int) -> SiteEstimate:
    """The posterior with the k that gives left-out films the highest likelihood, in folds by patient.

    Parameters
    ----------
    prior : Moments
        From ``prior_of``.
    features : ndarray, shape (n, d)
        Gate features.
    patients : ndarray, shape (n,)
    seed : int
        Seed of the folds.

    Raises
    ------
    FilmsError
        There are fewer patients than folds.
    """
    people, person = np.unique(patients, return_inverse=True)
    if len(people) < FOLDS:
        raise FilmsError(f"the site's films are of {len(people)} patients; at least {FOLDS} are needed")
    fold_of = (np.random.default_rng(seed).permutation(len(people)) % FOLDS)[person]
    parts = [Moments.of(features[fold_of == fold]) for fold in range(FOLDS)]
    others = [reduce(Moments.merge, parts[:fold] + parts[fold + 1 :]) for fold in range(FOLDS)]
    candidates = {
        k: sum(
            float(posterior(prior, rest, k).log_density(features[fold_of == fold]).sum())
            for fold, rest in enumerate(others)
        )
        / len(features)
        for k in PSEUDO_FILMS
    }
    best = max(candidates, key=lambda k: candidates[k])
    folds = tuple(posterior(prior, rest, best) for rest in others)
    return SiteEstimate(posterior(prior, reduce(Moments.merge, parts), best), folds, fold_of, best, candidates)
