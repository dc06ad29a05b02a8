"""The loop of the attacks with a goal: judge the 8-bit image, keep the best, step, project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from .goals import Target
from .judging import AttackResult, Victim, judged
from .posting import posted_within, project, require_posted, uniform_in_ball

#: How a gradient becomes a step: its sign, or its direction at the L2 length that a sign step would have.
Geometry = Literal["sign", "l2"]
_TINY: Final = 1e-30


@dataclass(frozen=True)
class SearchOptions:
    """A budget and schedule.

    Attributes
    ----------
    epsilon, step_size : float
        In pixel units of [0, 1].
    steps : int
        Gradients in each restart. The first k steps of a longer run are those of a shorter one, so that more
        steps, like more restarts, cannot lower success.
    restarts : int
        The first starts at the clean image, the others at random in the ball.
    seed : int
    geometry : "sign" or "l2"
    weight_rounds : int
        Rounds of the weight search for each image, in the attacks that have a weight.
    """

    epsilon: float
    step_size: float
    steps: int = 100
    restarts: int = 1
    seed: int = 0
    geometry: Geometry = "sign"
    weight_rounds: int = 6

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and self.step_size > 0):
            raise ValueError("epsilon and step_size must be over 0")
        if min(self.steps, self.restarts, self.weight_rounds) < 1:
            raise ValueError("steps, restarts and weight_rounds must be at least 1")

    @staticmethod
    def within(epsilon: float, *, steps: int = 100, restarts: int = 1, seed: int = 0) -> SearchOptions:
        """Options with a step of a quarter of a grey level for every epsilon.

        A step in proportion to epsilon jumps over images that the gate accepts, and the result would measure the step. With the
        same step in every ball, a larger ball can be compared with a smaller.
        """
        return SearchOptions(epsilon, 0.25 / 255, steps, restarts, seed)

    @staticmethod
    def least(epsilon: float, *, steps: int = 100, restarts: int = 1, seed: int = 0) -> SearchOptions:
        """Options for the smallest change that reaches the goal: short steps in proportion to the gradient.

        The most important pixels then cross half a grey level first. A sign step moves all pixels across it together.
        """
        return SearchOptions(epsilon, 0.1 / 255, steps, restarts, seed, "l2")


@dataclass(frozen=True)
class Probe:
    """The network's and the gate's values for M images during an attack.

    Attributes
    ----------
    images : Tensor, shape (M, 1, H, W)
        The leaf that gradients are taken at: on the 8-bit grid.
    index : Tensor, shape (M,), int64
        Their places in the whole batch.
    margin : Tensor, shape (M,)
        Logits past the goal; negative before it.
    excess : Tensor, shape (M,), float64
        Log density over the threshold, nats; negative where the gate rejects.
    reached : Tensor, shape (M,), bool
    gate_features : Tensor, shape (M, g)
    """

    images: Tensor
    index: Tensor
    margin: Tensor
    excess: Tensor
    reached: Tensor
    gate_features: Tensor

    def gradient(self, of: Tensor, *, keep: bool = False) -> Tensor:
        """The gradient of each image's number in `of`, shape (M,) -> (M, 1, H, W); `keep` the graph for another gradient."""
        (gradient,) = torch.autograd.grad(of.sum(), self.images, retain_graph=keep)
        return gradient


#: The rule of an attack: a probe -> a direction to ascend, shape (M, 1, H, W).
Rule = Callable[[Probe], Tensor]

_NOTHING, _REACHED, _EVADED = 0, 1, 2


class Best:
    """The best 8-bit point found for each image.

    Evasion (goal reached and accepted) is best. Next comes a reached goal, with a higher density the better. Next comes the
    point nearest to the goal. The goal comes before the gate, since an unchanged image is accepted but is no attack.
    """

    def __init__(self, images: Tensor) -> None:
        n = len(images)
        self.images = images.clone()
        self.stage = torch.full((n,), _NOTHING, device=images.device)
        self.score = torch.full((n,), -torch.inf, dtype=torch.float64, device=images.device)
        self.steps = torch.zeros(n, dtype=torch.int64, device=images.device)

    def see(self, probe: Probe) -> Tensor:
        """Keep better points; return the stage that each probed image reached, shape (M,), int64."""
        stage = torch.where(probe.reached, torch.where(probe.excess >= 0, _EVADED, _REACHED), _NOTHING)
        score = torch.where(probe.reached, probe.excess, probe.margin.double()).detach()
        self._keep(probe.index, probe.images.detach(), stage, score)
        return stage

    def merge(self, other: Best) -> None:
        """Take better points from `other`, and add its steps."""
        self._keep(torch.arange(len(self.stage), device=self.stage.device), other.images, other.stage, other.score)
        self.steps += other.steps

    def _keep(self, index: Tensor, images: Tensor, stage: Tensor, score: Tensor) -> None:
        old_stage, old_score = self.stage[index], self.score[index]
        better = (stage > old_stage) | ((stage == old_stage) & (score > old_score))
        chosen = index[better]
        self.images[chosen] = images[better]
        self.stage[chosen] = stage[better]
        self.score[chosen] = score[better]

    def reached(self) -> Tensor:
        """Shape (N,), bool."""
        return self.stage >= _REACHED

    def evaded(self) -> Tensor:
        """Shape (N,), bool."""
        return self.stage == _EVADED


def look(victim: Victim, images: Tensor, index: Tensor, target: Target) -> Probe:
    """Run images through network and gate; `images` is a leaf, and `target` is for these images."""
    outputs = victim.network(images)
    excess = victim.density(outputs.gate_features) - victim.gate.threshold
    margin, reached = target.margin(outputs.logits), target.reached(outputs.logits)
    return Probe(images, index, margin, excess, reached, outputs.gate_features)


def climb(
    victim: Victim,
    clean: Tensor,
    target: Target,
    options: SearchOptions,
    rule: Rule,
    best: Best,
    *,
    pending: Tensor,
    informed: bool = True,
) -> None:
    """Ascend `rule` from each start until an image succeeds, and store the best points in `best`.

    The 8-bit image is judged and gives the gradient, while small steps add up in an unrounded copy (a straight-through
    estimate). So one forward pass both judges and steers. An image that succeeds leaves the batch.

    Parameters
    ----------
    clean : Tensor, shape (N, 1, H, W), on the 8-bit grid
    pending : Tensor, shape (N,), bool
        The images to attack.
    informed : bool
        True: stop when the goal is reached and the gate accepts. False: stop when the goal is reached.
    """
    for restart in range(options.restarts):
        stopped = best.evaded() if informed else best.reached()
        index = (pending & ~stopped).nonzero()[:, 0]
        start = clean if restart == 0 else uniform_in_ball(clean, options.epsilon, options.seed + restart)
        current = start[index]
        for step in range(options.steps + 1):
            if len(index) == 0:
                break
            last = step == options.steps
            leaf = posted_within(current, clean[index], options.epsilon).requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                probe = look(victim, leaf, index, target.take(index))
            stage = best.see(probe)
            going = stage < (_EVADED if informed else _REACHED)
            if last or not going.any():
                break
            best.steps[index[going]] += 1
            moved = current + options.step_size * direction(rule(probe).detach(), options.geometry)
            index = index[going]
            current = project(moved[going], clean[index], options.epsilon)


def direction(gradient: Tensor, geometry: Geometry) -> Tensor:
    """A unit step along a gradient, shape (M, 1, H, W); a zero gradient gives no step, and no NaN."""
    if geometry == "sign":
        return gradient.sign()
    flat = gradient.flatten(1)
    length = flat.norm(dim=1).clamp_min(_TINY)
    scale: Tensor = flat.shape[1] ** 0.5 / length
    return (flat * scale[:, None]).view_as(gradient)


def search(
    victim: Victim, images: Tensor, target: Target, options: SearchOptions, rule: Rule, *, informed: bool = True
) -> AttackResult:
    """Attack the eligible images by one rule, and judge the best points.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]

    Raises
    ------
    ValueError
        Images between 8-bit levels or outside [0, 1].
    """
    require_posted(images)
    best = Best(images)
    climb(victim, images, target, options, rule, best, pending=target.eligible, informed=informed)
    return judged(victim, images, best.images, target, options.epsilon, best.steps)
