"""Attackers who know the gate: joint loss, selective and orthogonal projected gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from .goals import Target
from .judging import AttackResult, Victim, judged
from .posting import require_posted
from .search import Best, Probe, Rule, SearchOptions, climb, search

AwareAttack = Callable[[Victim, Tensor, Target, SearchOptions], AttackResult]

_TINY: Final = 1e-30
#: Logits past the goal at which the joint loss stops growing: further movement only helps the gate to detect the attack.
MARGIN_SLACK: Final = 0.1
#: Start of the weight search. A density is hundreds of nats; a margin is a logit or two.
FIRST_WEIGHT: Final = 1e-2
WEIGHT_FACTOR: Final = 10.0


def ascend_unmet(probe: Probe) -> Tensor:
    """Selective rule (Bryniarski et al., ICLR 2022, arXiv 2106.15023): ascend the goal that is not yet met.

    That is the margin while the finding is on the wrong side of its edge, else the log density.
    """
    return probe.gradient(torch.where(probe.reached, probe.excess, probe.margin.double()))


def ascend_orthogonal(probe: Probe) -> Tensor:
    """Orthogonal rule (Bryniarski et al., ICLR 2022): the unmet goal's gradient without its part along the other gradient.

    To first order such a step does not spoil the other goal. A sign step changes the direction, so that this holds only
    roughly; ``geometry="l2"`` keeps the direction.
    """
    margin = probe.gradient(probe.margin, keep=True)
    density = probe.gradient(probe.excess)
    reached = probe.reached[:, None, None, None]
    return torch.where(reached, without(density, margin), without(margin, density))


def without(gradient: Tensor, other: Tensor) -> Tensor:
    """`gradient` minus its projection on `other`, image by image; both have shape (M, 1, H, W).

    Computed in float64: a density's gradient is so much longer than a margin's that float32 would leave a remainder.
    """
    first, second = gradient.flatten(1).double(), other.flatten(1).double()
    share = (first * second).sum(1) / second.square().sum(1).clamp_min(_TINY)
    return (first - share[:, None] * second).to(gradient).view_as(gradient)


def ascend_joint(weights: Tensor) -> Rule:
    """Hinged margin plus weighted hinge on log density; weights of shape (N,), one for each image of the batch.

    min(margin, MARGIN_SLACK) + weight * min(log density - threshold, 0): the unconstrained form of Carlini & Wagner (2017,
    "Adversarial examples are not easily detected") for detectors.
    """

    def rule(probe: Probe) -> Tensor:
        margin = probe.margin.double().clamp_max(MARGIN_SLACK)
        return probe.gradient(margin + weights[probe.index] * probe.excess.clamp_max(0))

    return rule


def selective(victim: Victim, images: Tensor, target: Target, options: SearchOptions) -> AttackResult:
    """Selective projected gradient descent; see ``ascend_unmet``."""
    return search(victim, images, target, options, ascend_unmet)


def orthogonal(victim: Victim, images: Tensor, target: Target, options: SearchOptions) -> AttackResult:
    """Orthogonal projected gradient descent; see ``ascend_orthogonal``. Two gradients a step."""
    return search(victim, images, target, options, ascend_orthogonal)


def joint(victim: Victim, images: Tensor, target: Target, options: SearchOptions) -> AttackResult:
    """The joint loss of ``ascend_joint``, with the weight searched for each image; see ``weighted``."""
    return weighted(victim, images, target, options, ascend_joint)


def weighted(
    victim: Victim, images: Tensor, target: Target, options: SearchOptions, rule_of: Callable[[Tensor], Rule]
) -> AttackResult:
    """Search each image's weight between goal and gate, like Carlini & Wagner (2017).

    A round that reaches the goal but is rejected raises the weight. A round that does not reach the goal lowers it. The weight
    changes by a factor until both bounds are known, then to their geometric mean. An image that evades is done.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    rule_of : callable
        Weights of shape (N,) -> the rule.

    Raises
    ------
    ValueError
        Images between 8-bit levels or outside [0, 1].
    """
    require_posted(images)
    best = Best(images)
    weights = torch.full((len(images),), FIRST_WEIGHT, dtype=torch.float64, device=images.device)
    low, high = torch.zeros_like(weights), torch.full_like(weights, torch.inf)
    for _ in range(options.weight_rounds):
        pending = target.eligible & ~best.evaded()
        if not pending.any():
            break
        this_round = Best(images)
        climb(victim, images, target, options, rule_of(weights), this_round, pending=pending)
        best.merge(this_round)
        reached = this_round.reached()
        low = torch.where(reached, weights, low)
        high = torch.where(reached, high, weights)
        weights = torch.where(
            high.isinf(), low * WEIGHT_FACTOR, torch.where(low == 0, high / WEIGHT_FACTOR, (low * high).sqrt())
        )
    return judged(victim, images, best.images, target, options.epsilon, best.steps)
