"""Check that the attacks' results make sense, after Carlini et al. 2019, "On evaluating adversarial robustness".

A gate may seem to withstand an attack only because the attack is broken. The report shows these checks beside the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .adaptive import AwareAttack
from .goals import Target
from .judging import AttackResult, Victim
from .search import SearchOptions, look

UNBOUNDED = 1.0  # epsilon with which any image can become any other
#: Least number of steps in the unbounded ball. Hiding a finding from a hardened network takes 8 to 13 grey levels on average,
#: which is 60 to 120 steps of a quarter level.
UNBOUNDED_STEPS = 300


@dataclass(frozen=True)
class Check:
    """One check, whether it passed, and the numbers behind it, in words."""

    name: str
    passed: bool
    detail: str


def never_lower(name: str, settings: Sequence[float], results: Sequence[AttackResult]) -> Check:
    """Success must not fall as a setting (steps, restarts, epsilon) rises.

    Parameters
    ----------
    settings : Sequence[float]
        Rising.
    results : Sequence[AttackResult]
        Results on the same images, one for each setting.
    """
    if len(settings) != len(results) or list(settings) != sorted(settings):
        raise ValueError("never_lower needs rising settings, and one result for each")
    counts = [int((result.success & result.eligible).sum()) for result in results]
    detail = ", ".join(f"{setting:g}: {count}" for setting, count in zip(settings, counts, strict=True))
    n = int(results[0].eligible.sum())
    return Check(name, counts == sorted(counts), f"evaded of {n}: {detail}")


def reaches_all(result: AttackResult, *, informed: bool = True) -> Check:
    """With an unbounded epsilon every image must succeed. If the attacker does not know the gate, reaching the goal is enough."""
    done = (result.success if informed else result.goal_reached) & result.eligible
    n, count = int(result.eligible.sum()), int(done.sum())
    return Check("unbounded epsilon reaches 100 %", count == n, f"{count} of {n} at epsilon {result.epsilon:g}")


def gradients_flow(victim: Victim, images: Tensor, target: Target) -> Check:
    """Gradients of margin and log density at each clean image must be finite and not zero throughout."""
    leaf = images.clone().requires_grad_(True)
    probe = look(victim, leaf, torch.arange(len(images), device=images.device), target)
    bad: dict[str, int] = {}
    for name, gradient in (
        ("margin", probe.gradient(probe.margin, keep=True)),
        ("log density", probe.gradient(probe.excess)),
    ):
        flat = gradient.flatten(1)
        good = flat.isfinite().all(1) & flat.ne(0).any(1)
        bad[name] = int((~good).sum())
    detail = ", ".join(f"{name}: {count} bad of {len(images)}" for name, count in bad.items())
    return Check("gradients finite and non-zero", not any(bad.values()), detail)


def sanity_checks(
    attack: AwareAttack,
    victim: Victim,
    images: Tensor,
    target: Target,
    options: SearchOptions,
    *,
    informed: bool = True,
) -> list[Check]:
    """Run an attack with less and more of each setting. A few images are enough. It costs about eight runs.

    An informed attack that fails a check is too weak to say anything about the gate. For an uninformed attack (``minimal``)
    larger settings need not help against a gate that it does not know. Its monotone checks still count images that pass, and may
    fail.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    options : SearchOptions
        The middle of each range. The unbounded run has at least ``UNBOUNDED_STEPS`` steps.
    """

    def run(changed: SearchOptions) -> AttackResult:
        return attack(victim, images, target, changed)

    middle = run(options)
    fewer = sorted({max(1, options.steps // 4), max(1, options.steps // 2)} - {options.steps})
    restarts = options.restarts + 1
    # All balls have the same step: a coarser one jumps over images that the gate accepts, and the check would measure the step.
    half, double = (replace(options, epsilon=epsilon) for epsilon in (options.epsilon / 2, options.epsilon * 2))
    unbounded = replace(options, epsilon=UNBOUNDED, steps=max(options.steps, UNBOUNDED_STEPS))
    return [
        gradients_flow(victim, images, target),
        never_lower(
            "more steps never lower success",
            [*fewer, options.steps],
            [*(run(replace(options, steps=steps)) for steps in fewer), middle],
        ),
        never_lower(
            "more restarts never lower success",
            [options.restarts, restarts],
            [middle, run(replace(options, restarts=restarts))],
        ),
        never_lower(
            "larger epsilon never lowers success",
            [half.epsilon, options.epsilon, double.epsilon],
            [run(half), middle, run(double)],
        ),
        reaches_all(run(unbounded), informed=informed),
    ]
