"""An image is rejected strictly below the threshold, and a rejected or unjudged one has no probabilities."""

import numpy as np
import pytest

from app.pipeline.errors import NumericalError, UnsuitableImage
from app.pipeline.labels import LABELS
from app.pipeline.verdict import judge, set_gate_aside

LOG_ODDS = np.linspace(-200, 200, len(LABELS))


@pytest.mark.parametrize(
    ("log_density", "accepted"), [(-10.1, False), (np.nextafter(-10.0, -11.0), False), (-10.0, True), (-9.9, True)]
)
def test_threshold(log_density: float, accepted: bool) -> None:
    verdict = judge(float(log_density), LOG_ODDS, -10.0)
    assert verdict.accepted is accepted
    assert (verdict.probabilities is not None) is accepted


def test_probabilities_are_the_sigmoid_in_float64() -> None:
    log_odds = np.array([-1.5, 0.0, 2.0])
    probabilities = judge(0.0, log_odds, -1.0).probabilities
    assert probabilities is not None
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-log_odds)), rtol=1e-12)


def test_extreme_log_odds_stay_in_the_unit_range() -> None:
    probabilities = judge(0.0, LOG_ODDS, -1.0).probabilities
    assert probabilities is not None
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize("log_density", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_no_verdict(log_density: float) -> None:
    with pytest.raises(NumericalError):
        judge(log_density, LOG_ODDS, 0.0)


@pytest.mark.parametrize("log_density", [-1.0, 1.0], ids=["below", "above"])
def test_a_logit_that_is_not_finite_is_no_verdict(log_density: float) -> None:
    with pytest.raises(NumericalError):
        judge(log_density, np.array([0.0, np.nan]), 0.0)


@pytest.mark.parametrize("log_density", [-11.0, -9.0], ids=["rejected", "accepted"])
def test_a_turned_film_is_unsuitable_whatever_the_gate_says(log_density: float) -> None:
    with pytest.raises(UnsuitableImage, match="looks like a film that is upside down; send it as it is hung"):
        judge(log_density, LOG_ODDS, -10.0, "upside down")


def test_what_is_not_finite_is_not_called_turned() -> None:
    with pytest.raises(NumericalError):
        judge(np.nan, LOG_ODDS, -10.0, "upside down")


def test_with_the_gate_set_aside_the_probabilities_are_those_of_an_accepted_image() -> None:
    accepted = judge(0.0, LOG_ODDS, -1.0).probabilities
    assert judge(-2.0, LOG_ODDS, -1.0).probabilities is None
    np.testing.assert_array_equal(set_gate_aside(LOG_ODDS), accepted)
    with pytest.raises(NumericalError):
        set_gate_aside(np.array([0.0, np.inf]))


@pytest.mark.parametrize("log_density", [-20.0, 0.0])
def test_what_is_no_frontal_chest_film_is_unsuitable_whatever_the_gate_and_the_orientation_say(
    log_density: float,
) -> None:
    with pytest.raises(UnsuitableImage, match="by its pixels this looks like a lateral view; only frontal chest films"):
        judge(log_density, LOG_ODDS, -10.0, "upside down", "looks like a lateral view")
    with pytest.raises(NumericalError):
        judge(np.nan, LOG_ODDS, -10.0, None, "looks like a lateral view")
