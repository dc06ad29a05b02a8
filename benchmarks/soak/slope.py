"""Samples over time -> a slope and whether it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

#: Requests before it fill pools, caches and allocators.
WARM_UP_SHARE = 0.25


@dataclass(frozen=True)
class Trend:
    """A straight line through samples, by least squares.

    Attributes
    ----------
    median : float
    slope : float
        Per unit of what the samples are taken over.
    error : float
        Its standard error.
    growth : float
        Of the line over all samples that were judged, as a share of the median.
    """

    median: float
    slope: float
    error: float
    growth: float

    def flat(self, most: float) -> bool:
        """Whether it grows by no more than a share, or by no more than chance (two standard errors)."""
        return self.growth <= most or self.slope <= 2 * self.error

    def as_json(self) -> dict[str, float]:
        """For a report."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def trend(over: Sequence[float], values: Sequence[float]) -> Trend:
    """Fit what is behind the warm-up.

    Parameters
    ----------
    over : sequence of float
        Seconds, or requests; ascending.
    values : sequence of float
        At least eight.

    Raises
    ------
    ValueError
        Fewer samples.
    """
    if len(values) < 8:
        raise ValueError(f"{len(values)} samples are too few; let it run for longer")
    first = int(len(values) * WARM_UP_SHARE)
    x, y = np.asarray(over[first:], float), np.asarray(values[first:], float)
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residual = y - y.mean() - slope * centred
    error = float(np.sqrt(residual @ residual / (len(x) - 2) / (centred @ centred)))
    median = float(np.median(y))
    return Trend(median, slope, error, slope * float(x[-1] - x[0]) / median)
