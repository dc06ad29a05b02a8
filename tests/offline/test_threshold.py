"""The held-out threshold keeps its promise: the mean false-rejection rate, and the bound with its 95 %."""

import numpy as np
import pytest
from scipy.stats import norm

from offline.gate.threshold import held_out_threshold, training_threshold


@pytest.mark.parametrize(
    ("m", "target", "k"), [(19, 0.05, 1), (38, 0.05, 1), (39, 0.05, 2), (139, 0.05, 7), (99, 0.1, 10), (9, 0.1, 1)]
)
def test_kth_smallest(m: int, target: float, k: int) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, m + 1))
    threshold = held_out_threshold(scores, target)
    assert threshold.value == k
    assert (scores < threshold.value).sum() == k - 1  # strictly below is rejected, as ``judge`` does


@pytest.mark.parametrize(("m", "target"), [(18, 0.05), (8, 0.1), (0, 0.05), (98, 0.01)])
def test_too_few(m: int, target: float) -> None:
    with pytest.raises(ValueError, match=f"at least {round(1 / target) - 1} are needed"):
        held_out_threshold(np.arange(float(m)), target)


@pytest.mark.parametrize(("m", "target"), [(50, 0.05), (139, 0.05), (139, 0.1)])
def test_the_promise_holds_in_simulation(m: int, target: float) -> None:
    generator = np.random.default_rng(0)
    thresholds = [held_out_threshold(generator.normal(size=m), target) for _ in range(4000)]
    rates = norm.cdf([threshold.value for threshold in thresholds])  # of new films
    assert rates.mean() <= target + 3 * rates.std() / np.sqrt(len(rates))
    held = np.mean(rates <= thresholds[0].bound)
    assert held == pytest.approx(0.95, abs=0.015)


def test_the_bound_tightens_with_more_films() -> None:
    bounds = [held_out_threshold(np.arange(float(m)), 0.05).bound for m in (19, 139, 1399, 13999)]
    assert bounds == sorted(bounds, reverse=True)
    assert 0.05 < bounds[-1] < 0.054


def test_the_papers_rule_is_the_quantile_and_bounds_nothing() -> None:
    threshold = training_threshold(np.arange(101.0), 0.05)
    assert threshold.value == pytest.approx(5.0)
    assert threshold.bound == 1.0
