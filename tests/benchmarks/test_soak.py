"""The judgement of a soak: a leak is told from noise and from a warm-up."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak.slope import WARM_UP_SHARE, trend

SECONDS = np.arange(0.0, 600.0, 10.0)
NOISE = np.random.default_rng(0).normal(0, 2, SECONDS.size)


def test_the_line_is_that_of_least_squares() -> None:
    values = 500 + 0.02 * SECONDS + NOISE
    first = int(SECONDS.size * WARM_UP_SHARE)
    slope, _ = np.polyfit(SECONDS[first:], values[first:], 1)
    found = trend(list(SECONDS), list(values))
    assert found.slope == pytest.approx(slope)
    assert found.growth == pytest.approx(slope * (SECONDS[-1] - SECONDS[first]) / np.median(values[first:]))


@pytest.mark.parametrize(
    ("values", "flat"),
    [
        (500 + NOISE, True),
        (500 - 0.1 * SECONDS + NOISE, True),
        (500 + 0.1 * SECONDS + NOISE, False),
        (np.where(SECONDS < 600 * WARM_UP_SHARE, 300, 500) + NOISE, True),
        (500 + 100 * NOISE, True),
    ],
    ids=[
        "flat",
        "falling",
        "a leak of a tenth",
        "grown in the warm-up alone",
        "so much noise that nothing can be said",
    ],
)
def test_what_is_flat(values: np.ndarray, flat: bool) -> None:
    assert trend(list(SECONDS), list(values)).flat(0.03) is flat


def test_too_few_samples_are_no_judgement() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend([1, 2, 3], [1, 2, 3])
