"""AUROC is scikit-learn's, ties included, and the bootstrap draws whole patients."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from offline.metrics import auroc, auroc_of_each, bootstrap_interval, mean_auroc


@pytest.mark.parametrize("levels", [2, 5, 10**6], ids=["two levels", "many ties", "no ties"])
@pytest.mark.parametrize("seed", range(3))
def test_auroc_is_scikit_learns(levels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, 200)
    scores = generator.integers(0, levels, 200) + targets * levels * 0.2
    assert auroc(targets, scores) == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)


def test_known_values() -> None:
    targets = np.array([0, 0, 1, 1])
    assert auroc(targets, np.array([1, 2, 3, 4])) == 1
    assert auroc(targets, np.array([4, 3, 2, 1])) == 0
    assert auroc(targets, np.zeros(4)) == 0.5


def test_a_finding_of_one_class_is_left_out_of_the_mean() -> None:
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (50, 3))
    targets[:, 1] = 0
    scores = generator.normal(size=(50, 3))
    each = auroc_of_each(targets, scores)
    assert np.isnan(each).tolist() == [False, True, False]
    assert mean_auroc(targets, scores) == pytest.approx((each[0] + each[2]) / 2)
    assert np.isnan(mean_auroc(np.zeros((50, 3)), scores))


def test_bootstrap_interval_covers_and_repeats() -> None:
    values = np.random.default_rng(0).normal(size=300)
    groups = np.arange(300)
    low, high = bootstrap_interval(groups, lambda drawn: float(values[drawn].mean()), repeats=500)
    error = values.std() / np.sqrt(300)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.4 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.4 * error)
    assert (low, high) == bootstrap_interval(groups, lambda drawn: float(values[drawn].mean()), repeats=500)


def test_bootstrap_draws_whole_patients() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])

    def whole(drawn: np.ndarray) -> float:
        counts = np.bincount(drawn, minlength=6)
        assert counts[0] == counts[2] == counts[5]
        assert counts[1] == counts[4]
        return float(len(drawn))

    bootstrap_interval(groups, whole, repeats=50)


def test_draws_without_a_value_are_left_out() -> None:
    targets = np.array([0, 0, 0, 0, 1])
    scores = np.arange(5.0)
    interval = bootstrap_interval(np.arange(5), lambda drawn: auroc(targets[drawn], scores[drawn]), repeats=200)
    assert interval == (1.0, 1.0)
