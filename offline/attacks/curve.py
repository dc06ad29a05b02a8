"""One attack at rising budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .adaptive import AwareAttack
from .goals import Target
from .judging import AttackResult, Victim
from .search import SearchOptions


def epsilon_curve(
    attack: AwareAttack,
    victim: Victim,
    images: Tensor,
    target: Target,
    budgets: Sequence[SearchOptions],
    *,
    informed: bool = True,
) -> list[AttackResult]:
    """Attack at each budget, smallest first. An image that is done at one budget is done at all larger ones.

    The smaller ball lies in the larger, so its attacked image lies within both. Nothing is searched twice, and the curve cannot
    fall. ``sanity`` checks whether the attack alone has this property.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    budgets : Sequence[SearchOptions]
        Of rising epsilon.
    informed : bool
        True: an image is done when it evades. False: it is done when it reaches the goal, since the attacker does not know the
        gate.

    Returns
    -------
    list of AttackResult, one for each budget
        ``steps`` counts all steps up to that budget.
    """
    epsilons = [options.epsilon for options in budgets]
    if not epsilons or epsilons != sorted(epsilons):
        raise ValueError("epsilon_curve needs budgets of rising epsilon")
    curve: list[AttackResult] = []
    for options in budgets:
        if not curve:
            curve.append(attack(victim, images, target, options))
            continue
        before = curve[-1]
        done = before.success if informed else before.goal_reached
        pending = target.eligible & ~done
        found = attack(victim, images, replace(target, eligible=pending), options)
        curve.append(_merged(found, before, pending))
    return curve


def _merged(found: AttackResult, before: AttackResult, pending: Tensor) -> AttackResult:
    """`found` where it was searched, `before` elsewhere."""
    wide = pending[:, None, None, None]
    return replace(
        found,
        images=torch.where(wide, found.images, before.images),
        eligible=before.eligible,
        goal_reached=torch.where(pending, found.goal_reached, before.goal_reached),
        accepted=torch.where(pending, found.accepted, before.accepted),
        clean_accepted=before.clean_accepted,
        steps=before.steps + found.steps,
        probability_change=torch.where(pending, found.probability_change, before.probability_change),
        grey_change=torch.where(pending, found.grey_change, before.grey_change),
    )
