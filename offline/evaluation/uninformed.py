"""The paper's attacks, white-box and black-box, on every film."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from app.pipeline.network import LogitsOnly

from ..attacks import AttackOptions, attack, paper_attacks
from ..attacks.posting import posted_within
from ..detectors import Observed
from .observing import Images, batches, observe, to_images, to_levels
from .store import Arrays, Outcome
from .subject import Subject


def attack_all(
    gradients_of: nn.Module, levels: Images, device: torch.device, title: str, options: AttackOptions
) -> Images:
    """Attack images on a network's logits (the victim's, or a substitute's), rounded as they are posted."""
    attacked = []
    for batch, images in enumerate(batches(levels, device, title)):
        # Gradients in bfloat16 take half the time and keep nearly every sign; judging is float32.
        with torch.autocast(device.type, dtype=torch.bfloat16):
            found = attack(gradients_of, images, options, seed=batch)
        attacked.append(to_levels(posted_within(found, images, options.epsilon)))
    return np.concatenate(attacked)


def paper_stage(
    subject: Subject, gradients_of: nn.Module, levels: Images, setting: str, epsilon: float, steps: int
) -> Outcome:
    """The four attacks of one setting; the victim's features and logits of each, and the images of BIM."""
    arrays: Arrays = {}
    flips: dict[str, Any] = {}
    clean_top = observe(subject.victim.network, levels, subject.device, "clean").top_finding
    for name, options in paper_attacks(epsilon, steps).items():
        title = f"{setting} {name}"
        attacked = attack_all(gradients_of, levels, subject.device, title, options)
        seen = observe(subject.victim.network, attacked, subject.device, f"features of {title}")
        arrays[f"{title}/features"], arrays[f"{title}/logits"] = seen.features, seen.logits
        change = np.abs(attacked.astype(np.int16) - levels).mean()
        flips[title] = {"flip_rate": float((seen.top_finding != clean_top).mean()), "grey_change": float(change)}
        if name == "BIM":
            arrays[f"{title}/images"] = attacked
    return flips, {key.replace("/", "|"): value for key, value in arrays.items()}


def observed_of(arrays: Arrays) -> dict[str, Observed]:
    """The attacks of a ``paper_stage``, by name."""
    names = [key.removesuffix("|features") for key in arrays if key.endswith("|features")]
    return {name: Observed(arrays[f"{name}|features"], arrays[f"{name}|logits"]) for name in names}


def supervised_stage(subject: Subject, levels: Images, epsilon: float, steps: int) -> Outcome:
    """Attacked training films for the detector that is trained on one attack."""
    arrays: Arrays = {}
    logits = LogitsOnly(subject.bundle.network)
    for name, options in paper_attacks(epsilon, steps).items():
        if name in {"FGSM", "BIM"}:
            attacked = attack_all(logits, levels, subject.device, f"{name} on training films", options)
            seen = observe(subject.victim.network, attacked, subject.device, "features")
            arrays[f"white-box {name}|features"], arrays[f"white-box {name}|logits"] = seen.features, seen.logits
    return {}, arrays


def example_stage(subject: Subject, clean: Images, attacked: Images) -> Outcome:
    """One film and its attack: feature maps and both answers (the paper's Figures 1 and 2a)."""
    pair = to_images(np.stack([clean, attacked]), subject.device)
    network = subject.bundle.network
    with torch.inference_mode():
        maps = torch.relu(network.features((pair - network.image_mean) / network.image_std)).cpu().numpy()
        features, logits = network(pair)
    most = np.argsort(-np.abs(maps[1] - maps[0]).mean((1, 2)))[:8]
    probabilities = torch.sigmoid(logits.double()).cpu().numpy()
    scores = subject.bundle.gaussian.log_density(features.cpu().numpy())
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
