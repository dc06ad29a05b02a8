"""The attacker who knows nothing of the gate, and stops at the first flip."""

from __future__ import annotations

from torch import Tensor

from .goals import Target
from .judging import AttackResult, Victim
from .search import Probe, SearchOptions, search


def ascend_margin(probe: Probe) -> Tensor:
    """The gradient of the goal's margin alone."""
    return probe.gradient(probe.margin)


def minimal(victim: Victim, images: Tensor, target: Target, options: SearchOptions) -> AttackResult:
    """BIM on the goal's margin, each image stopped at the first step whose 8-bit rounding reaches the goal.

    The paper's attacks run on after the goal is reached, and the gate sees the overshoot. This one is as little
    informed (the gate plays no part in it until the result is judged) and passes far more often.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    options : SearchOptions
        ``SearchOptions.least`` stops nearest to the flip.
    """
    return search(victim, images, target, options, ascend_margin, informed=False)
