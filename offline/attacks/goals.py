"""An attacker's goals: to move a finding of an image to the other side of a point.

``hide`` and ``invent`` use one operating point of each finding, without a calibration, as in the paper.
The goals on calls are in ``call_goals``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, Self

import torch
from torch import Tensor

from .linf import Loss

PointGoal = Literal["hide", "invent"]
CallGoal = Literal["absent-to-present", "present-to-absent", "any-change"]
Goal = Literal[PointGoal, CallGoal]
#: How the finding to move is chosen among an image's findings.
Choice = Literal["furthest", "nearest", "random"]


class Wanted(NamedTuple):
    """A goal, and the rule that chooses its finding."""

    goal: Goal
    finding_choice: Choice


#: Goals at the one operating point; see ``choose_target``.
AT_POINT: Final = (Wanted("hide", "furthest"), Wanted("invent", "nearest"))
#: A call turned into its opposite.
OPPOSITE: Final = (Wanted("absent-to-present", "nearest"), Wanted("present-to-absent", "nearest"))
#: These, the same for a finding at random, and any change of a call.
EVERY_CALL: Final = (
    *OPPOSITE,
    Wanted("absent-to-present", "random"),
    Wanted("present-to-absent", "random"),
    Wanted("any-change", "nearest"),
    Wanted("any-change", "random"),
)
#: The goal, in words that follow "an attacker who wants".
DEEDS: Final[dict[Goal, str]] = {
    "hide": "to hide a finding",
    "invent": "to invent a finding",
    "absent-to-present": "to turn a call from absent to present",
    "present-to-absent": "to turn a call from present to absent",
    "any-change": "to change a call",
}


@dataclass(frozen=True)
class Target:
    """One finding for each image, and the edge that its logit is to cross.

    Attributes
    ----------
    goal : Goal
    finding : Tensor, shape (N,), int64
    edge : Tensor, shape (N,), float64
        A logit.
    upward : Tensor, shape (N,), bool
        True: the logit is to go to the edge or over. False: it is to go under it.
    eligible : Tensor, shape (N,), bool
        False if the goal does not apply, e.g. a film without findings has nothing to hide. Rates cover the eligible images
        alone.
    """

    goal: Goal
    finding: Tensor
    edge: Tensor
    upward: Tensor
    eligible: Tensor

    def take(self, index: Tensor) -> Self:
        """The targets of the images at some places; places have shape (M,), int64."""
        taken: dict[str, Any] = {name: value[index] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **taken)

    def logit(self, logits: Tensor) -> Tensor:
        """The chosen finding's logit, shape (N, L) -> (N,)."""
        return logits.gather(1, self.finding[:, None])[:, 0]

    def margin(self, logits: Tensor) -> Tensor:
        """How far past the edge the finding is, in logits, shape (N, L) -> (N,).

        Negative before the goal, positive beyond. Unlike a cross-entropy, the margin does not flatten where the network is sure,
        and it gains no importance after the goal is reached.
        """
        past = self.logit(logits) - self.edge.to(logits)
        return torch.where(self.upward, past, -past)

    def reached(self, logits: Tensor) -> Tensor:
        """Whether the finding is on the wanted side, in float64, (N, L) -> (N,), bool."""
        return (self.logit(logits).double() >= self.edge) == self.upward

    def probability(self, logits: Tensor) -> Tensor:
        """The chosen finding's probability, shape (N, L) -> (N,), float64."""
        return torch.sigmoid(self.logit(logits).double())


@dataclass(frozen=True)
class PointTarget(Target):
    """The target of the goals hide and invent.

    Attributes
    ----------
    point : Tensor, shape (N,), float64, in (0, 1)
        The operating point of the finding, as a probability.
    """

    point: Tensor

    def reached(self, logits: Tensor) -> Tensor:
        """As ``Target.reached``, but compares probabilities: rounding of the logit cannot flip a film that lies at the point."""
        return (self.probability(logits) >= self.point) == self.upward


def choose_target(goal: PointGoal, logits: Tensor, operating_points: Tensor) -> PointTarget:
    """Choose the finding of each image: hide takes the finding furthest over its point, invent the nearest under its point.

    Distance to the point is a difference of logits, so that findings with high and low operating points are comparable.

    Parameters
    ----------
    logits : Tensor, shape (N, L)
        Of the clean images.
    operating_points : Tensor, shape (L,), in (0, 1)
        The probability from which each finding is called present.

    Raises
    ------
    ValueError
        An operating point is 0 or 1, which no probability can cross.
    """
    points = operating_points.to(logits.device, torch.float64)
    if not ((points > 0) & (points < 1)).all():
        raise ValueError("operating points must be over 0 and under 1")
    edges = torch.logit(points)
    past = logits.detach().double() - edges
    present = torch.sigmoid(logits.detach().double()) >= points
    candidates = present if goal == "hide" else ~present
    # Both goals take the largest distance among their candidates: furthest over, or least far under.
    finding = past.masked_fill(~candidates, -torch.inf).argmax(1)
    eligible = candidates.any(1)
    upward = torch.full_like(eligible, goal == "invent")
    return PointTarget(goal, finding, edges[finding], upward, eligible, point=points[finding])


def goal_loss(target: Target) -> Loss:
    """The margin as a loss for ``linf.attack``, so that FGSM, BIM, PGD and MIM pursue a goal."""

    def loss(logits: Tensor, top: Tensor) -> Tensor:
        return target.margin(logits)[target.eligible].sum()

    return loss
