"""The model of orientation speaks where it is sure and within its floor, and is scikit-learn's softmax."""

import numpy as np
import pytest

from app.pipeline.orientation import SENSES, Orientation


def model(floor: float = -100.0) -> Orientation:
    """Five features, each the evidence for one sense."""
    return Orientation(np.eye(5), np.zeros(5), floor)


@pytest.mark.parametrize("sense", range(1, 5))
def test_each_sense_is_named(sense: int) -> None:
    features = np.zeros((1, 5), np.float32)
    features[0, sense] = 9
    assert model().faults(features, np.array([0.0])) == [SENSES[sense]]


def test_upright_and_undecided_films_have_no_fault() -> None:
    features = np.array([[9, 0, 0, 0, 0], [2, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    upright, likelier_right, even = model().faults(features, np.zeros(3))
    assert upright is likelier_right is None
    assert even == SENSES[1]  # a fifth each: wrong in four of five


def test_below_the_floor_it_says_nothing() -> None:
    features = np.array([[0, 0, 0, 0, 9]] * 3, np.float32)
    assert model().faults(features, np.array([-100.1, -100.0, 5.0])) == [None, SENSES[4], SENSES[4]]


def test_probabilities_sum_to_one_for_large_features() -> None:
    probabilities = model().probabilities(np.array([[1e6, 0, 0, 0, -1e6]]))
    np.testing.assert_allclose(probabilities, [[1, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("weights", "bias"),
    [(np.eye(4), np.zeros(4)), (np.eye(5), np.zeros(4)), (np.zeros(5), np.zeros(5)), (np.eye(5) * np.nan, np.zeros(5))],
    ids=["four senses", "short bias", "flat", "not finite"],
)
def test_a_model_of_another_shape_is_refused(weights: np.ndarray, bias: np.ndarray) -> None:
    with pytest.raises(ValueError, match="weights"):
        Orientation(weights, bias, 0.0)
