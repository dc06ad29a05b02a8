"""What an attacker wants of one image: to hide a finding that is there, or to invent one that is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .linf import Loss

Goal = Literal["hide", "invent"]


@dataclass(frozen=True)
class Target:
    """One finding for each image, and the side of its operating point that it is to be moved to.

    Attributes
    ----------
    goal : "hide" or "invent"
        Hide: a finding at or over its operating point goes under it. Invent: one under goes to it or over.
    finding : Tensor, shape (N,), int64
    point : Tensor, shape (N,), float64, in (0, 1)
        The operating point of that finding, as a probability.
    eligible : Tensor, shape (N,), bool
        False where there is nothing to do, e.g. nothing to hide on a film without findings. Rates are over the
        eligible images alone.
    """

    goal: Goal
    finding: Tensor
    point: Tensor
    eligible: Tensor

    def take(self, index: Tensor) -> Target:
        """The targets of some images, by their places of shape (M,), int64."""
        return Target(self.goal, self.finding[index], self.point[index], self.eligible[index])

    def logit(self, logits: Tensor) -> Tensor:
        """The chosen finding's logit, shape (N, L) -> (N,)."""
        return logits.gather(1, self.finding[:, None])[:, 0]

    def margin(self, logits: Tensor) -> Tensor:
        """How far past the operating point the finding is, in logits, shape (N, L) -> (N,).

        Negative before the goal, positive beyond. Unlike a cross-entropy it does not flatten where the
        network is sure, and it does not go on growing in importance once the goal is reached.
        """
        past = self.logit(logits) - torch.logit(self.point).to(logits)
        return past if self.goal == "invent" else -past

    def reached(self, logits: Tensor) -> Tensor:
        """Whether the finding is on the wanted side, by its probability in float64 as served, (N, L) -> (N,), bool."""
        present = self.probability(logits) >= self.point
        return present if self.goal == "invent" else ~present

    def probability(self, logits: Tensor) -> Tensor:
        """The chosen finding's probability, shape (N, L) -> (N,), float64."""
        return torch.sigmoid(self.logit(logits).double())


def choose_target(goal: Goal, logits: Tensor, operating_points: Tensor) -> Target:
    """Choose the finding of each image: to hide the one furthest over its point, to invent the one nearest under.

    Distance to the point is a difference of logits, so that findings with high and low operating points compare.

    Parameters
    ----------
    logits : Tensor, shape (N, L)
        Of the clean images.
    operating_points : Tensor, shape (L,), in (0, 1)
        The probability from which each finding is called present.

    Raises
    ------
    ValueError
        An operating point of 0 or 1, over which or under which nothing can go.
    """
    points = operating_points.to(logits.device, torch.float64)
    if not ((points > 0) & (points < 1)).all():
        raise ValueError("operating points must be over 0 and under 1")
    past = logits.detach().double() - torch.logit(points)
    present = torch.sigmoid(logits.detach().double()) >= points
    candidates = present if goal == "hide" else ~present
    # Both goals take the largest distance among their candidates: furthest over, or least far under.
    finding = past.masked_fill(~candidates, -torch.inf).argmax(1)
    return Target(goal, finding, points[finding], candidates.any(1))


def goal_loss(target: Target) -> Loss:
    """The margin as a loss for ``linf.attack``, so that FGSM, BIM, PGD and MIM hide or invent."""

    def loss(logits: Tensor, top: Tensor) -> Tensor:
        return target.margin(logits)[target.eligible].sum()

    return loss
