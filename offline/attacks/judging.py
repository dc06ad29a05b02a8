"""The victim of an attack, and the attack's results, judged as in the service: on 8-bit images, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.pipeline.gate import Gate

from .call_goals import CallPoints, choose_call
from .density import differentiable
from .goals import Choice, Goal, Target, choose_target
from .posting import grey_change, require_posted

_BUDGET_TOLERANCE = 1e-6  # float32's rounding of a pixel


@dataclass(frozen=True)
class Victim:
    """The knowledge of an attacker who knows the gate; ``Victim.of`` makes one.

    Attributes
    ----------
    network : Module
        Images of shape (N, 1, H, W) in [0, 1] -> ``Outputs``, float32, in eval mode.
    gate : Gate
        The served gate, which decides.
    density : Module
        The gate's density for torch, on the network's device.
    operating_points : Tensor, shape (L,), in (0, 1)
        Points of hide and invent: probabilities before calibration.
    calls : CallPoints or None
        Points of the goals on calls; None: these goals cannot be tried.
    """

    network: nn.Module
    gate: Gate
    density: nn.Module
    operating_points: Tensor
    calls: CallPoints | None = None

    @staticmethod
    def of(
        network: nn.Module,
        gate: Gate,
        operating_points: Tensor,
        device: torch.device | None = None,
        calls: CallPoints | None = None,
    ) -> Victim:
        """A network and its gate, moved to `device` (None: the CPU)."""
        place = device or torch.device("cpu")
        return Victim(
            network.to(place).eval(),
            gate,
            differentiable(gate.density).to(place),
            operating_points.to(place),
            None if calls is None else calls.to(place),
        )

    def choose(
        self, goal: Goal, images: Tensor, finding_choice: Choice = "nearest", seed: int | Sequence[int] = 0
    ) -> Target:
        """Choose the finding to move on each clean image, shape (N, 1, H, W). Only goals on calls use choice and seed.

        Raises
        ------
        ValueError
            The goal is on calls, and the victim has no points for them.
        """
        with torch.no_grad():
            logits = self.network(images).logits
        if goal == "hide" or goal == "invent":
            return choose_target(goal, logits, self.operating_points)
        if self.calls is None:
            raise ValueError(f"{goal} needs the points at which findings are called")
        return choose_call(goal, logits, self.calls, finding_choice, seed)

    def accepts(self, gate_features: Tensor) -> Tensor:
        """The served gate's decision, shape (N, g) -> (N,), bool."""
        return torch.from_numpy(self.gate.accepts(gate_features.cpu().numpy())).to(gate_features.device)


@dataclass(frozen=True)
class AttackResult:
    """The results of an attack on N images.

    Attributes
    ----------
    goal : Goal
    epsilon : float
        The budget, in pixel units of [0, 1].
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
        The best point found for each image; the clean image if it is not eligible.
    eligible, goal_reached, accepted : Tensor, shape (N,), bool
    clean_accepted : Tensor, shape (N,), bool
        The gate's decision on the clean image: it refuses some of them.
    steps : Tensor, shape (N,), int64
        Gradients spent on the image, over all restarts and weights.
    probability_change : Tensor, shape (N,), float64, in [-1, 1]
        Probability of the chosen finding, attacked minus clean; calibrated only for goals on calls. A small change means a flat
        network.
    grey_change : Tensor, shape (N,), float32
        Mean absolute change in grey levels of 255.
    """

    goal: Goal
    epsilon: float
    images: Tensor
    eligible: Tensor
    goal_reached: Tensor
    accepted: Tensor
    clean_accepted: Tensor
    steps: Tensor
    probability_change: Tensor
    grey_change: Tensor

    @property
    def success(self) -> Tensor:
        """Goal reached, and the gate accepts: evasion. Shape (N,), bool."""
        return self.goal_reached & self.accepted

    @property
    def success_rate(self) -> float:
        """Evasion rate over the eligible images; NaN if there is none."""
        return float(self.success[self.eligible].double().mean())


def judged(
    victim: Victim, clean: Tensor, attacked: Tensor, target: Target, epsilon: float, steps: Tensor | int = 0
) -> AttackResult:
    """Judge attacked images of any attack.

    Parameters
    ----------
    clean, attacked : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    epsilon : float
        ``math.inf`` for attacks without a budget.
    steps : Tensor, shape (N,), int64, or int

    Raises
    ------
    ValueError
        Images between 8-bit levels or outside [0, 1].
    AssertionError
        The attack exceeded its budget, which would make it look too strong.
    """
    require_posted(clean)
    require_posted(attacked)
    furthest = float((attacked - clean).abs().max())
    if not furthest <= epsilon + _BUDGET_TOLERANCE:
        raise AssertionError(f"an attacked image is {furthest:.6g} from the clean one, over epsilon {epsilon:.6g}")
    with torch.no_grad():
        before, after = victim.network(clean), victim.network(attacked)
    spent = steps if isinstance(steps, Tensor) else torch.full((len(clean),), steps, device=clean.device)
    return AttackResult(
        goal=target.goal,
        epsilon=epsilon,
        images=attacked,
        eligible=target.eligible,
        goal_reached=target.reached(after.logits) & target.eligible,
        accepted=victim.accepts(after.gate_features),
        clean_accepted=victim.accepts(before.gate_features),
        steps=spent,
        probability_change=target.probability(after.logits) - target.probability(before.logits),
        grey_change=grey_change(attacked, clean),
    )
