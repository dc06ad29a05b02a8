"""The victim of an attack, and the attack's results: judged as the service would, on 8-bit images in float32."""

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
    """Everything that an attacker who knows the gate knows; make one with ``Victim.of``.

    Attributes
    ----------
    network : Module
        Images of shape (N, 1, H, W) in [0, 1] -> ``Outputs``, float32, in eval mode.
    gate : Gate
        As served: it gives the last word.
    density : Module
        The gate's for torch, on the device of the network.
    operating_points : Tensor, shape (L,), in (0, 1)
        Of hide and invent: probabilities before calibration.
    calls : CallPoints or None
        Of the goals on calls; None: these cannot be tried.
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
        """The finding to move on each clean image, shape (N, 1, H, W); choice and seed are of the goals on calls.

        Raises
        ------
        ValueError
            A goal on calls, of a victim without points for them.
        """
        with torch.no_grad():
            logits = self.network(images).logits
        if goal == "hide" or goal == "invent":
            return choose_target(goal, logits, self.operating_points)
        if self.calls is None:
            raise ValueError(f"{goal} needs the points at which findings are called")
        return choose_call(goal, logits, self.calls, finding_choice, seed)

    def accepts(self, gate_features: Tensor) -> Tensor:
        """The gate's word as served, shape (N, g) -> (N,), bool."""
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
        The best point seen of each image; the clean image where it is not eligible.
    eligible, goal_reached, accepted : Tensor, shape (N,), bool
    clean_accepted : Tensor, shape (N,), bool
        Of the image before the attack: the gate refuses some clean ones too.
    steps : Tensor, shape (N,), int64
        Gradients spent on the image, over all restarts and weights.
    probability_change : Tensor, shape (N,), float64, in [-1, 1]
        Of the chosen finding, attacked minus clean; calibrated of a goal on calls alone. Little of it says that the network is
        flat.
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
    """Judge attacked images, whoever made them.

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
        The budget was exceeded: a mistake of the attack's, which would flatter it.
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
