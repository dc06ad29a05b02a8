"""FGSM, BIM, PGD and MIM: functions over one loop, on images in [0,1] within an L-infinity ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .posting import project, require_unit_range, uniform_in_ball

#: (logits of shape (N, L), the clean images' top findings of shape (N,)) -> a sum over images, to be ascended.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AttackOptions:
    """An attack's budget and schedule.

    ``epsilon`` and ``step_size`` are in pixel units of [0,1]; ``decay`` is MIM's momentum (0: none).
    """

    epsilon: float
    step_size: float
    steps: int
    random_start: bool = False
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and self.step_size > 0 and self.steps >= 1):
            raise ValueError("epsilon and step_size must be over 0, and steps at least 1")


def paper_attacks(epsilon: float, steps: int = 10) -> dict[str, AttackOptions]:
    """The paper's four attacks at one epsilon; iterated ones step a quarter of it."""
    step = epsilon / 4
    return {
        "FGSM": AttackOptions(epsilon, epsilon, 1),  # Goodfellow et al. 2015
        "BIM": AttackOptions(epsilon, step, steps),  # Kurakin et al. 2017
        "PGD": AttackOptions(epsilon, step, steps, random_start=True),  # Madry et al. 2018
        "MIM": AttackOptions(epsilon, step, steps, decay=1.0),  # Dong et al. 2018
    }


def top_finding_loss(logits: Tensor, top: Tensor) -> Tensor:
    """Cross-entropy of the finding with the highest predicted probability, summed over images (Li & Zhu 2020).

    Findings are not exclusive, so the cross-entropy is the binary one of that finding's sigmoid.

    Parameters
    ----------
    logits : Tensor, shape (N, L)
    top : Tensor, shape (N,), int64
        The clean image's top finding.
    """
    return F.softplus(-logits.gather(1, top[:, None])).sum()


def top_logit_loss(logits: Tensor, top: Tensor) -> Tensor:
    """Minus the logit of the top finding. It has the direction of the cross-entropy, and never saturates."""
    return -logits.gather(1, top[:, None]).sum()


def runner_up_loss(logits: Tensor, top: Tensor) -> Tensor:
    """Highest other logit minus that of the top finding (Carlini & Wagner 2017, f_6): over 0, another finding leads."""
    others = logits.scatter(1, top[:, None], -torch.inf)
    return (others.amax(1) - logits.gather(1, top[:, None])[:, 0]).sum()


_TINY: Final = 1e-12


def attack(
    logits_of: nn.Module, images: Tensor, options: AttackOptions, *, loss: Loss = top_finding_loss, seed: int = 0
) -> Tensor:
    """Ascend the loss: gradient, normalise, step, project, clip.

    Parameters
    ----------
    logits_of : Module
        (N, 1, H, W) in [0,1] -> logits (N, L); see ``LogitsOnly``.
    images : Tensor, shape (N, 1, H, W), in [0, 1]

    Returns
    -------
    Tensor, shape (N, 1, H, W), in [0, 1]
        Within `epsilon` of `images`. Round with ``as_posted`` before judging it.

    Raises
    ------
    ValueError
        Images outside [0, 1].
    """
    require_unit_range(images)
    with torch.no_grad():
        top = logits_of(images).argmax(1)
    attacked = images.clone()
    if options.random_start:
        attacked = uniform_in_ball(images, options.epsilon, seed)
    momentum = torch.zeros_like(images)
    for _ in range(options.steps):
        attacked.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(logits_of(attacked), top), attacked)
        # Dong et al. divide by the L1 norm; a zero gradient stays zero instead of NaN.
        norm = gradient.abs().flatten(1).sum(1).clamp_min(_TINY)[:, None, None, None]
        momentum = options.decay * momentum + gradient / norm
        stepped = attacked.detach() + options.step_size * momentum.sign()
        attacked = project(stepped, images, options.epsilon)
    return attacked.detach()
