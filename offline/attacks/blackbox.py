"""Substitutes for transfer attacks, which are made on a substitute and posted to the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..data.films import FilmsError
from ..run import PLAIN, Run
from ..training.substitute import build


@dataclass(frozen=True)
class Substitute:
    """An attacker's own network, and its origin.

    Attributes
    ----------
    network : Module
        Images -> ``Outputs``, frozen.
    about : dict
        For the report: name, arch, learned_from ("answers" of the service, or "labels"), initial_weights, epochs,
        films, and what its last epoch measured on the val films.
    """

    network: nn.Module
    about: dict[str, Any]


def load_substitute(run: Run) -> Substitute:
    """Read the network that ``distil`` or ``train`` wrote into `run`, of any architecture.

    Raises
    ------
    FilmsError
        `run` holds no substitute, or its weights do not fit its record.
    """
    distilled = run.distillation.exists
    kept = run.distillation if distilled else run.training
    if not (kept.exists and run.weights.is_file()):
        raise FilmsError(
            f"{run} holds no substitute; run 'cxr-offline distil --run RUN --output {run}' "
            f"or 'cxr-offline train --arch resnet50 --output {run}' first"
        )
    record = kept.read()
    arch = record["options"].get("arch", PLAIN)
    network = build(arch)
    try:
        network.load_state_dict(run.tensors())
    except RuntimeError as error:
        raise FilmsError(f"{run.weights} does not fit {kept.path.name}: {str(error)[:300]}") from error
    about = {
        "name": run.folder.name,
        "arch": arch,
        "learned_from": "answers" if distilled else "labels",
        "initial_weights": record.get("initial_weights"),
        "films": record.get("train_answered" if distilled else "train_count"),
        "constant_mean_absolute_difference": record.get("constant_mean_absolute_difference"),
        "epochs": len(record["history"]),
        **{key: value for key, value in record["history"][-1].items() if key.startswith("val_")},
    }
    return Substitute(network.eval().requires_grad_(False), about)
