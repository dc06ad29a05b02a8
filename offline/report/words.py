"""How numbers are written for people. None stands for a value that was not measured, and becomes n/a."""

from __future__ import annotations

from typing import Final

from .reading import Interval

NOT_AVAILABLE: Final = "n/a"


def text(value: object) -> str:
    """A word or a count for a table."""
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(value: float | None) -> str:
    """0.977 -> 97.7%."""
    return NOT_AVAILABLE if value is None else f"{value:.1%}"


def decimal(value: float | None, digits: int = 3) -> str:
    """0.9769 -> 0.977."""
    return NOT_AVAILABLE if value is None else f"{value:.{digits}f}"


def spread(measure: Interval) -> str:
    """The interval alone: 95.1% to 99.2%."""
    return NOT_AVAILABLE if measure.low is None else f"{percent(measure.low)} to {percent(measure.high)}"


def with_interval(measure: Interval) -> str:
    """97.7% (95.1% to 99.2%)."""
    return percent(measure.value) if measure.low is None else f"{percent(measure.value)} ({spread(measure)})"


def of(part: int | None, whole: int | None) -> str:
    """12 of 260; n/a where either is missing."""
    return NOT_AVAILABLE if part is None or whole is None else f"{text(part)} of {text(whole)}"


def share_of(part: int | None, whole: int | None) -> str:
    """10.0% (2 of 20); n/a where there is nothing to have a share of."""
    return f"{part / whole:.1%} ({of(part, whole)})" if part is not None and whole else NOT_AVAILABLE


def strength(epsilon: float | None) -> str:
    """Epsilon as a whole number of 8-bit grey levels, such as 2/255, or else as a decimal, such as 0.02."""
    if epsilon is None:
        return NOT_AVAILABLE
    levels = epsilon * 255
    return f"{round(levels)}/255" if levels >= 0.5 and abs(levels - round(levels)) < 1e-3 else f"{epsilon:g}"
