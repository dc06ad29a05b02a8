"""Reading an evaluation tolerantly: what was not measured is None here, and 'n/a' or a sentence in the report.

No other file of the report indexes the evaluation, so that a missing key cannot end in a traceback or, worse,
in a number that nobody measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..attacks.goals import AT_POINT
from ..detectors import SERVED

Tree = Mapping[str, Any]

NOT_AVAILABLE: Final = "n/a"
#: The bundle's own gate, where it has no row ``SERVED``.
PAPER_GATE: Final = "mgm-lambda"
ATTACKS: Final = ("FGSM", "BIM", "PGD", "MIM")
SETTINGS: Final = ("white-box", "black-box")
_AT_POINT: Final = tuple(wanted.goal for wanted in AT_POINT)  # each has a finding of its own
PAPER_ATTACKS: Final = tuple(f"{setting} {attack}" for setting in SETTINGS for attack in ATTACKS)


class Rate(NamedTuple):
    """A measure and its 95 % interval; any of them None where it was not measured."""

    value: float | None
    low: float | None
    high: float | None


def at(tree: Any, *keys: str) -> Any:
    """What lies under the keys; None where it is missing, or NaN."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def number(tree: Any, *keys: str) -> float | None:
    """A finite number, or None."""
    value = at(tree, *keys)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def rows(tree: Any, *keys: str) -> list[Tree]:
    """A list of mappings; empty where it is missing."""
    found = at(tree, *keys)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, Sequence) else []


def branch(tree: Any, *keys: str) -> Tree:
    """A mapping; empty where it is missing."""
    found = at(tree, *keys)
    return found if isinstance(found, Mapping) else {}


def rate(tree: Any, *keys: str) -> Rate:
    """An Estimate as written by ``asdict``."""
    return Rate(number(tree, *keys, "value"), number(tree, *keys, "low"), number(tree, *keys, "high"))


def mean_of(tree: Any, *keys: str) -> Rate:
    """A FindingAuroc as written by ``asdict``: its mean, and the interval of that."""
    return Rate(number(tree, *keys, "mean"), number(tree, *keys, "low"), number(tree, *keys, "high"))


def detector(evaluation: Tree, name: str) -> Tree:
    """The first row of a detector; empty where it was not measured."""
    return next((row for row in rows(evaluation, "detectors") if at(row, "detector") == name), {})


def gate_of(evaluation: Tree) -> Tree:
    """The row of the gate that the bundle serves; empty where it was not measured."""
    return detector(evaluation, SERVED) or detector(evaluation, PAPER_GATE)


def attack_names(evaluation: Tree) -> list[str]:
    """Every attack that any detector was measured on: the paper's in its order, then the others as they come."""
    seen = dict.fromkeys(name for row in rows(evaluation, "detectors") for name in branch(row, "attacks"))
    return [name for name in PAPER_ATTACKS if name in seen] + [name for name in seen if name not in PAPER_ATTACKS]


def text(value: Any) -> str:
    """A word or a count for a table: None and NaN are n/a."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def percent(value: float | None) -> str:
    """0.977 -> 97.7%."""
    return NOT_AVAILABLE if value is None else f"{value:.1%}"


def decimal(value: float | None, digits: int = 3) -> str:
    """0.9769 -> 0.977."""
    return NOT_AVAILABLE if value is None else f"{value:.{digits}f}"


def spread(measure: Rate) -> str:
    """The interval alone: 95.1% to 99.2%."""
    return NOT_AVAILABLE if measure.low is None else f"{percent(measure.low)} to {percent(measure.high)}"


def with_interval(measure: Rate) -> str:
    """97.7% (95.1% to 99.2%)."""
    return percent(measure.value) if measure.low is None else f"{percent(measure.value)} ({spread(measure)})"


def of(part: Any, whole: Any) -> str:
    """12 of 260; n/a where either is missing."""
    return NOT_AVAILABLE if part is None or whole is None else f"{text(part)} of {text(whole)}"


def goal_of(row: Tree) -> str:
    """What was wanted; of a goal on calls, also on which finding."""
    goal, choice = text(at(row, "goal")), at(row, "finding_choice")
    return goal if choice is None or goal in _AT_POINT else f"{goal}, {choice} finding"


def strength(epsilon: float | None) -> str:
    """Epsilon as people say it: in 8-bit grey levels where it is a whole number of them, 2/255, and .02 as 0.02."""
    if epsilon is None:
        return NOT_AVAILABLE
    levels = epsilon * 255
    return f"{round(levels)}/255" if levels >= 0.5 and abs(levels - round(levels)) < 1e-3 else f"{epsilon:g}"
