"""The attacker who does not know the gate, and stops at the first flip."""

from __future__ import annotations

from torch import Tensor

from .goals import Target
from .judging import AttackResult, Victim
from .search import Probe, SearchOptions, search


def ascend_margin(probe: Probe) -> Tensor:
    """The gradient of the goal's margin alone."""
    return probe.gradient(probe.margin)


def minimal(victim: Victim, images: Tensor, target: Target, options: SearchOptions) -> AttackResult:
    """BIM on the goal's margin; it stops each image at the first step whose 8-bit rounding reaches the goal.

    The paper's attacks go on after the goal is reached, and the gate detects the overshoot. This attack does not know the gate
    either (only the final judging uses it), and passes far more often.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    options : SearchOptions
        ``SearchOptions.least`` stops nearest to the flip.
    """
    return search(victim, images, target, options, ascend_margin, informed=False)
