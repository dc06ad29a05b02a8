"""The paper's attacks, white-box and black-box, on every film."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn

from app.pipeline.network import LogitsOnly

from ..attacks import AttackOptions, attack, paper_attacks
from ..attacks.posting import posted_within
from ..detectors import Observed
from ..training.optimisation import autocast
from .observing import Images, batches, observe, to_images, to_levels
from .presets import BLACK_BOX_EPSILON, WHITE_BOX_EPSILON
from .store import Arrays, Outcome
from .subject import LoadedBundle

SUPERVISED_ON: Final = ("FGSM", "BIM")
TRANSFER_BUDGETS: Final = (2 / 255, WHITE_BOX_EPSILON, BLACK_BOX_EPSILON)


def attack_all(
    gradients_of: nn.Module, levels: Images, device: torch.device, title: str, options: AttackOptions
) -> Images:
    """Attack images with gradients of the victim or a substitute, and round them as they are posted."""
    attacked = []
    for batch, images in enumerate(batches(levels, device, title)):
        # Gradients in bfloat16 take half the time and keep nearly every sign; judging is float32.
        with autocast(device):
            found = attack(gradients_of, images, options, seed=batch)
        attacked.append(to_levels(posted_within(found, images, options.epsilon)))
    return np.concatenate(attacked)


def attack_stage(
    subject: LoadedBundle,
    gradients_of: nn.Module,
    levels: Images,
    clean: Observed,
    title: str,
    options: AttackOptions,
) -> Outcome:
    """One attack on all films: the victim network's outputs, the share of changed top findings, and the change in greys."""
    attacked = attack_all(gradients_of, levels, subject.device, title, options)
    seen = observe(subject.victim.network, attacked, subject.device, f"features of {title}")
    change = np.abs(attacked.astype(np.int16) - levels).mean()
    flips = {"flip_rate": float((seen.top_finding != clean.top_finding).mean()), "grey_change": float(change)}
    return flips, {**seen.arrays(), "images": attacked}


def transfer_stage(subject: LoadedBundle, gradients_of: nn.Module, levels: Images, title: str, steps: int) -> Outcome:
    """MIM on an outsider's network: one row for each epsilon. MIM transfers best of the paper's four attacks.

    ``changed``: the victim's top finding changed. ``passed``: it changed, and the gate accepts.
    """
    clean = observe(subject.victim.network, levels, subject.device, "clean")
    rows = []
    for epsilon in TRANSFER_BUDGETS:
        options = paper_attacks(epsilon, steps)["MIM"]
        attacked = attack_all(gradients_of, levels, subject.device, f"{title}, epsilon {epsilon:.4f}", options)
        seen = observe(subject.victim.network, attacked, subject.device, "features")
        changed = seen.top_finding != clean.top_finding
        accepted = subject.bundle.gate.accepts(seen.gate_features)
        rows.append(
            {
                "epsilon": epsilon,
                "films": len(levels),
                "changed": int(changed.sum()),
                "accepted": int(accepted.sum()),
                "passed": int((changed & accepted).sum()),
            }
        )
    return rows, {}


def supervised_stage(subject: LoadedBundle, levels: Images, epsilon: float, steps: int) -> Outcome:
    """Attacked training films for the detector that is trained on one attack."""
    arrays: Arrays = {}
    logits = LogitsOnly(subject.bundle.network)
    for name in SUPERVISED_ON:
        options = paper_attacks(epsilon, steps)[name]
        attacked = attack_all(logits, levels, subject.device, f"{name} on training films", options)
        seen = observe(subject.victim.network, attacked, subject.device, "features")
        arrays |= seen.arrays(f"{name}|")
    return {}, arrays


def example_stage(subject: LoadedBundle, clean: Images, attacked: Images) -> Outcome:
    """One film and its attack: feature maps and both answers (the paper's Figures 1 and 2a)."""
    pair = to_images(np.stack([clean, attacked]), subject.device)
    network = subject.bundle.network
    with torch.inference_mode():
        maps = torch.relu(network.features((pair - network.image_mean) / network.image_std)).cpu().numpy()
        outputs = network(pair)
    most = np.argsort(-np.abs(maps[1] - maps[0]).mean((1, 2)))[:8]
    probabilities = torch.sigmoid(outputs.logits.double()).cpu().numpy()
    scores = subject.bundle.gate.log_density(outputs.gate_features.cpu().numpy())
    images = pair[:, 0].cpu().numpy()
    named = {
        "clean": images[0],
        "attacked": images[1],
        "maps_clean": maps[0, most],
        "maps_attacked": maps[1, most],
        "probabilities_clean": probabilities[0],
        "probabilities_attacked": probabilities[1],
        "scores": scores,
    }
    return {}, {f"example|{name}": value for name, value in named.items()}
