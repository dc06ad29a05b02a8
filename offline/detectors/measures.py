"""Measures of a gate on equal numbers of clean and attacked films, with bootstrap intervals over patients.

Positives are attacked films; to reject a film is to call it attacked. Row i of clean and row i of attacked films belong to the
same film, so that a bootstrap draws a patient's clean and attacked films together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..gate.threshold import held_out_threshold
from ..metrics import auroc, auroc_of_each

Array = NDArray[np.float64]
Rejected = NDArray[np.bool_]
Rate = TypeVar("Rate", float, Array)  # one, or one for each bootstrap draw

#: False-rejection rates at which detection is reported, beside the target.
FALSE_REJECTION_RATES = (0.001, 0.005, 0.01, 0.05)


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DetectionAt:
    """Detection at one false-rejection rate.

    Attributes
    ----------
    false_rejection_rate : float
        The chosen rate.
    held_out : Estimate or None
        Detection with the threshold from held-out films, as in a gate; None if they are too few.
    held_out_false_rejection_rate : Estimate or None
        Share of the clean test films that this threshold refuses.
    on_roc : float
        Detection on the ROC curve of the test films: the best threshold in hindsight, which no gate can know. With n clean
        films, a rate under 1 / n means that no film is refused.
    """

    false_rejection_rate: float
    held_out: Estimate | None
    held_out_false_rejection_rate: Estimate | None
    on_roc: float


@dataclass(frozen=True)
class FindingAuroc:
    """AUROC over findings, weighted by their positive films; ``deviation`` is over findings, weighted alike.

    Both are None if no finding has positive and negative films among the passed films. ``low`` and ``high`` are the 95 %
    bootstrap interval of the mean.
    """

    mean: float | None
    deviation: float | None
    findings: int
    low: float | None = None
    high: float | None = None


def weighted_auroc(
    targets: NDArray[np.generic], scores: NDArray[np.generic], weights: Array | None = None
) -> FindingAuroc:
    """The paper's measure of the network: weighted mean over findings, and standard deviation.

    Parameters
    ----------
    targets : ndarray, shape (N, L), 0 or 1
    scores : ndarray, shape (N, L)
        Logits or probabilities.
    weights : ndarray, shape (B, N), optional
        Bootstrap draws, for the interval.
    """
    positives = np.asarray(targets, dtype=np.float64).sum(axis=0)
    each = auroc_of_each(targets, scores)
    defined = ~np.isnan(each)
    if not defined.any():
        return FindingAuroc(None, None, 0)
    mean = float(np.average(each[defined], weights=positives[defined]))
    variance = float(np.average((each[defined] - mean) ** 2, weights=positives[defined]))
    found = FindingAuroc(mean, math.sqrt(variance), int(defined.sum()))
    if weights is None:
        return found
    low, high = np.nanpercentile(_drawn_weighted_auroc(targets, scores, weights), [2.5, 97.5])
    return replace(found, low=float(low), high=float(high))


def _drawn_weighted_auroc(targets: NDArray[np.generic], scores: NDArray[np.generic], weights: Array) -> Array:
    """The mean of ``weighted_auroc`` in each draw, (B,); NaN where a draw has no finding with both kinds of film."""
    areas = drawn_auroc(targets, scores, weights)
    ills = np.where(np.isnan(areas), 0, weights @ np.asarray(targets, dtype=np.float64))
    total = ills.sum(1)
    means: Array = np.divide(np.nansum(areas * ills, 1), total, out=np.full_like(total, np.nan), where=total > 0)
    return means


def drawn_auroc(targets: NDArray[np.generic], scores: NDArray[np.generic], weights: Array) -> Array:
    """``auroc_of_each`` in each draw of films, from weights of shape (B, N) -> (B, L); NaN where undefined."""
    areas = []
    for positive, score in zip(np.asarray(targets, dtype=np.float64).T, np.asarray(scores).T, strict=True):
        order = np.argsort(score, kind="stable")
        _, first = np.unique(score[order], return_index=True)  # films of one score share a level
        drawn = weights[:, order]
        ill = np.add.reduceat(drawn * positive[order], first, axis=1)
        well = np.add.reduceat(drawn * (1 - positive[order]), first, axis=1)
        pairs = ill.sum(1) * well.sum(1)
        area = (ill * (well.cumsum(1) - well / 2)).sum(1)
        areas.append(np.divide(area, pairs, out=np.full_like(area, np.nan), where=pairs > 0))
    return np.stack(areas, axis=1)


def accuracy(clean_rejected: Rate, attacked_rejected: Rate) -> Rate:
    """Accuracy on the balanced set, from the rates; .5 without a defence. The paper's "F1" matches this measure."""
    return (attacked_rejected + 1 - clean_rejected) / 2


def f1(clean_rejected: Rate, attacked_rejected: Rate) -> Rate:
    """F1 of the attacked films on the balanced set, 2 TP / (2 TP + FP + FN), from the rates; 0 where none is caught."""
    return 2 * attacked_rejected / (attacked_rejected + clean_rejected + 1)


def detection_at(validation: Array, clean: Array, attacked: Array, rate: float, weights: Array) -> DetectionAt:
    """Detection at a false-rejection rate, from scores of held-out, clean test and attacked test films, shape (N,).

    ``weights``, shape (B, N), are the bootstrap draws of the test films.
    """
    # Of n clean films at most floor(rate n) may lie strictly below, so the next one is the threshold.
    on_roc = float((attacked < np.sort(clean)[math.floor(rate * len(clean) + 1e-9)]).mean())
    try:
        threshold = held_out_threshold(validation, rate).value
    except ValueError:  # too few held-out films for so small a rate
        return DetectionAt(rate, None, None, on_roc)
    return DetectionAt(rate, share(attacked < threshold, weights), share(clean < threshold, weights), on_roc)


def share(rejected: Rejected, weights: Array) -> Estimate:
    """Share of films rejected, shape (N,), with its interval from draws, shape (B, N)."""
    return estimate(float(rejected.mean()), weighted_rates(rejected, weights))


def detection_auroc(clean: Array, attacked: Array) -> float:
    """Probability that an attacked film is less typical than a clean one; ties count half. Scores, shape (N,)."""
    is_attacked = np.repeat([0, 1], [len(clean), len(attacked)])
    return auroc(is_attacked, -np.concatenate([clean, attacked]))


def bootstrap_weights(patients: NDArray[np.generic], repeats: int, seed: int) -> Array:
    """How often each film is drawn, shape (repeats, N). Whole patients are drawn, as in ``bootstrap_interval``.

    Every detector, attack and measure uses the same draws as weights. New draws for each would take minutes, and the intervals
    would be less comparable.
    """
    generator = np.random.default_rng(seed)
    _, member = np.unique(patients, return_inverse=True)
    count = int(member.max()) + 1
    return np.array(
        [np.bincount(generator.integers(count, size=count), minlength=count)[member] for _ in range(repeats)],
        dtype=np.float64,
    )


def weighted_rates(rejected: Rejected, weights: Array) -> Array:
    """Share of films rejected in each draw: (N,), (B, N) -> (B,)."""
    rates: Array = weights @ rejected / weights.sum(axis=1)
    return rates


def weighted_detection_auroc(clean: Array, attacked: Array, weights: Array) -> Array:
    """``detection_auroc`` of each draw: scores (N,), (N,) and weights (B, N) -> (B,)."""
    values, level = np.unique(np.concatenate([clean, attacked]), return_inverse=True)
    of_clean, of_attacked = level[: len(clean)], level[len(clean) :]
    areas = np.empty(len(weights))
    for draw, weight in enumerate(weights):
        cleans = np.bincount(of_clean, weight, len(values))
        attackeds = np.bincount(of_attacked, weight, len(values))
        above = cleans.sum() - np.cumsum(cleans) + cleans / 2
        areas[draw] = (attackeds @ above) / (cleans.sum() * attackeds.sum())
    return areas


def estimate(value: float, draws: Array) -> Estimate:
    """A value with the 2.5 and 97.5 percentiles of its draws, shape (B,)."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high))
