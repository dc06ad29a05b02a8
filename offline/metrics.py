"""AUROC over findings, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


def auroc(targets: NDArray[np.generic], scores: NDArray[np.generic]) -> float:
    """Area under the ROC curve by the rank sum (Mann-Whitney U); ties count half.

    Parameters
    ----------
    targets : ndarray, shape (N,), 0 or 1
    scores : ndarray, shape (N,), higher is more positive

    Returns
    -------
    float
        In [0, 1]; NaN where one class is absent, since the area is then undefined.
    """
    positive = np.asarray(targets).astype(bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auroc_of_each(targets: NDArray[np.generic], scores: NDArray[np.generic]) -> Array:
    """AUROC of each column, shape (N, L), (N, L) -> (L,); NaN where undefined."""
    return np.array([auroc(targets[:, column], scores[:, column]) for column in range(targets.shape[1])])


def mean_auroc(targets: NDArray[np.generic], scores: NDArray[np.generic]) -> float:
    """Unweighted mean over the findings for which AUROC is defined; NaN where none is."""
    each = auroc_of_each(targets, scores)
    return float(np.nanmean(each)) if not np.isnan(each).all() else float("nan")


def bootstrap_interval(
    groups: NDArray[np.generic],
    statistic: Callable[[NDArray[np.intp]], float],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval, drawing whole groups (patients), since films of one patient are alike.

    Parameters
    ----------
    groups : ndarray, shape (N,)
        The patient of each film.
    statistic : callable
        Takes film indices, shape (M,), and returns a number; NaN draws are left out.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(repeats):
        drawn = generator.integers(len(members), size=len(members))
        values.append(statistic(np.concatenate([members[index] for index in drawn])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
