"""FGSM, BIM, PGD and MIM: functions over one loop, on images in [0,1] within an L-infinity ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    """Cross-entropy of the finding with the highest predicted probability, summed over images.

    Findings are not exclusive, so the cross-entropy is the binary one of that finding's sigmoid.

    Parameters
    ----------
    logits : Tensor, shape (N, L)
    top : Tensor, shape (N,), int64
        The finding that the clean image had highest.
    """
    return F.softplus(-logits.gather(1, top[:, None])).sum()


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
    if not (images.min() >= 0 and images.max() <= 1):  # so put, NaN fails too
        raise ValueError("images must be in [0, 1]")
    with torch.no_grad():
        top = logits_of(images).argmax(1)
    attacked = images.clone()
    if options.random_start:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(images.shape, generator=generator).to(images)
        attacked = (images + (2 * noise - 1) * options.epsilon).clamp(0, 1)
    momentum = torch.zeros_like(images)
    for _ in range(options.steps):
        attacked.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(logits_of(attacked), top), attacked)
        # Dong et al. divide by the L1 norm; a zero gradient stays zero instead of NaN.
        norm = gradient.abs().flatten(1).sum(1).clamp_min(_TINY)[:, None, None, None]
        momentum = options.decay * momentum + gradient / norm
        stepped = attacked.detach() + options.step_size * momentum.sign()
        attacked = torch.clamp(stepped, images - options.epsilon, images + options.epsilon).clamp(0, 1)
    return attacked.detach()


def as_posted(images: Tensor) -> Tensor:
    """Round to the 8 bits of the PNG that is really sent; clean and attacked images both go through it."""
    return (images * 255).round() / 255
