"""Clean films: accuracy, false rejection overall and by group, harmless changes, and turned films."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from app.pipeline.labels import LABELS
from app.pipeline.outputs import Outputs
from app.pipeline.preprocess import picture_tensor

from ..attacks import Victim
from ..data.films import Film
from ..data.harmless import CHANGES, Change
from ..data.loading import as_written, load_pixels
from ..detectors import Observed
from ..detectors.measures import bootstrap_weights, share, weighted_auroc
from ..gate.orientation import counted, in_every_sense
from ..metrics import auroc_of_each, bootstrap_interval, mean_auroc
from .observing import BATCH, Images, batches
from .store import Outcome
from .subject import LoadedBundle

Rejected = NDArray[np.bool_]


def accuracy(
    targets: NDArray[np.float32], seen: Observed, rejected: Rejected, patients: NDArray[Any]
) -> dict[str, Any]:
    """AUROC over the findings, and the false-rejection rate of the served gate."""
    low, high = bootstrap_interval(patients, lambda index: mean_auroc(targets[index], seen.logits[index]))
    each = auroc_of_each(targets, seen.logits)
    return {
        "mean_auroc": {"value": mean_auroc(targets, seen.logits), "low": low, "high": high},
        "weighted_auroc": vars(weighted_auroc(targets, seen.logits, bootstrap_weights(patients, 1000, 0))),
        "auroc": {name: float(value) if np.isfinite(value) else None for name, value in zip(LABELS, each, strict=True)},
        "false_rejections": int(rejected.sum()),
        "false_rejection_rate": rate(rejected, patients),
    }


def groups(films: list[Film], rejected: Rejected, patients: NDArray[Any]) -> list[dict[str, Any]]:
    """False rejection by view, sex, age band and finding."""
    members: dict[str, list[int]] = {}
    for index, film in enumerate(films):
        for name in [*film.groups, *(f"finding {finding}" for finding in film.findings)]:
            members.setdefault(name, []).append(index)
    rows = []
    for name, indices in sorted(members.items()):
        chosen = np.array(indices)
        rows.append({"group": name, **_counted(rejected[chosen], patients[chosen])})
    return rows


def harmless_stage(
    victim: Victim,
    device: torch.device,
    films: list[Film],
    patients: NDArray[Any],
    changes: Mapping[str, Change] = CHANGES,
) -> Outcome:
    """Apply each change to the film at its own size, round to 8 bits, and judge the film as the service does."""
    rows = []
    for name, change in changes.items():
        accepted: list[NDArray[np.bool_]] = []
        for start in tqdm(range(0, len(films), BATCH), desc=f"harmless: {name}", unit="batch"):
            changed = [as_written(change(load_pixels(film.path))) for film in films[start : start + BATCH]]
            images = torch.cat([picture_tensor(film) for film in changed])
            with torch.inference_mode():
                accepted.append(victim.accepts(victim.network(images.to(device)).gate_features).cpu().numpy())
        rejected = ~np.concatenate(accepted)
        rows.append({"change": name, **_counted(rejected, patients)})
    return rows, {}


def orientation_stage(subject: LoadedBundle, levels: Images, clean: Observed, attacked: dict[str, Observed]) -> Outcome:
    """Counts of the answers to clean, turned, inverted and attacked films by the model of orientation and the gate."""
    bundle = subject.bundle
    parts: dict[str, list[Outputs[Tensor]]] = {}
    with torch.inference_mode():
        for images in batches(levels, subject.device, "turned films"):
            for sense, turned in list(in_every_sense(images).items())[1:]:
                parts.setdefault(sense, []).extend(subject.victim.network(one.contiguous()) for one in turned)
    found = {
        "clean": (clean.features, clean.gate_features),
        **{sense: _stacked(seen) for sense, seen in parts.items()},
        **{f"attacked, {name}": (seen.features, seen.gate_features) for name, seen in attacked.items()},
    }
    return [{"film": name, **counted(bundle.orientation, bundle.gate, *seen)} for name, seen in found.items()], {}


def _stacked(outputs: list[Outputs[Tensor]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and gate features of batches."""
    features, gate_features, _ = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return features, gate_features


def _counted(rejected: Rejected, patients: NDArray[Any]) -> dict[str, Any]:
    return {
        "films": len(rejected),
        "rejected": int(rejected.sum()),
        "false_rejection_rate": rate(rejected, patients),
    }


def rate(rejected: Rejected, patients: NDArray[Any]) -> dict[str, float]:
    """Share rejected, with a 95 % bootstrap interval over patients."""
    return vars(share(rejected, bootstrap_weights(patients, 1000, 0)))
