"""Platt's calibration of all logits at once. Held-out films are few, so slopes are pulled to a common slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Array = NDArray[np.float64]
#: How strongly each finding's slope is pulled to the common slope. Cross-validation chooses one of these values.
PULLS: Final = (1.0, 5.0, 25.0, 100.0, 10_000.0)
FOLDS: Final = 10


@dataclass(frozen=True)
class Calibration:
    """log odds = slopes * logits + intercepts, for films in which findings have the frequencies `prevalences`.

    Attributes
    ----------
    slopes, intercepts, prevalences : ndarray, shape (L,), float64
    pull : float
        The chosen value of ``PULLS``.
    """

    slopes: Array
    intercepts: Array
    prevalences: Array
    pull: float

    def log_odds(self, logits: NDArray[np.floating]) -> Array:
        """Shape (N, L) -> (N, L), float64."""
        return np.asarray(self.slopes * logits + self.intercepts)

    def at(self, prevalences: Array) -> Calibration:
        """The calibration for other prevalences, assuming that films with a finding look alike in both populations.

        Source: Saerens, Latinne, Decaestecker, Neural Computation 14 (2002).
        """
        shift = logit(prevalences) - logit(self.prevalences)
        return Calibration(self.slopes, self.intercepts + shift, np.asarray(prevalences), self.pull)


def calibrate(logits: NDArray[np.floating], targets: NDArray[np.floating], groups: NDArray[np.generic]) -> Calibration:
    """Fit on held-out films, with the pull that gives the least log loss in cross-validation.

    Parameters
    ----------
    logits, targets : ndarray, shape (N, L)
    groups : ndarray, shape (N,)
        The patient of each film. A patient's films are never on both sides of a fold.
    """
    values, wanted = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    pull = min(PULLS, key=lambda one: _cross_validated(values, wanted, groups, one))
    return _fit(values, wanted, pull)


def _cross_validated(logits: Array, targets: Array, groups: NDArray[np.generic], pull: float) -> float:
    """Sum of the log losses of each fold's films under a fit on the other folds."""
    patients = np.random.default_rng(0).permutation(np.unique(groups))
    total = 0.0
    for fold in np.array_split(patients, min(FOLDS, len(patients))):
        left_out = np.isin(groups, fold)
        odds = _fit(logits[~left_out], targets[~left_out], pull).log_odds(logits[left_out])
        total += float(np.sum(np.logaddexp(0, odds) - targets[left_out] * odds))
    return total


def _fit(logits: Array, targets: Array, pull: float) -> Calibration:
    """Logistic regressions whose slopes, in units of each logit's deviation, are pulled to a common slope.

    Targets are Platt's smoothed ones, not 0 and 1 (Platt 1999), so that a finding of no film, or of all, has an intercept too.
    """
    count, findings = logits.shape
    mean, deviation = logits.mean(axis=0), np.maximum(logits.std(axis=0), 1e-9)
    standard = (logits - mean) / deviation
    with_it = targets.sum(axis=0)
    smoothed = np.where(targets > 0, (with_it + 1) / (with_it + 2), 1 / (count - with_it + 2))
    start = logit((with_it + 0.5) / (count + 1))

    def loss(parameters: Array) -> tuple[float, Array]:
        common, own, intercepts = parameters[0], parameters[1 : 1 + findings], parameters[1 + findings :]
        odds = (common + own) * standard + intercepts
        wrong = expit(odds) - smoothed
        slopes = (wrong * standard).sum(axis=0)
        value = float(np.sum(np.logaddexp(0, odds) - smoothed * odds) + pull / 2 * np.sum(own**2))
        return value, np.concatenate([[slopes.sum()], slopes + pull * own, wrong.sum(axis=0)])

    first = np.concatenate([[1.0], np.zeros(findings), start])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    slopes = np.maximum(found[0] + found[1 : 1 + findings], 1e-3) / deviation  # over 0: a call needs an order of films
    return Calibration(slopes, found[1 + findings :] - slopes * mean, (with_it + 0.5) / (count + 1), pull)
