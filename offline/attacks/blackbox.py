"""Transfer attacks: made on a substitute, posted to the service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from ..data.films import FilmsError
from ..training.distil import DISTILLATION_RECORD
from ..training.substitute import build
from ..training.train import RECORD, WEIGHTS


@dataclass(frozen=True)
class Substitute:
    """An attacker's own network, and how it was come by.

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


def load_substitute(folder: Path) -> Substitute:
    """What ``distil`` or ``train`` wrote into `folder`, of whichever architecture.

    Raises
    ------
    FilmsError
        There is none.
    """
    records = [folder / name for name in (DISTILLATION_RECORD, RECORD) if (folder / name).is_file()]
    if not records or not (folder / WEIGHTS).is_file():
        raise FilmsError(
            f"{folder} holds no substitute; run 'cxr-offline distil --run RUN --output {folder}' "
            f"or 'cxr-offline train --arch resnet50 --output {folder}' first"
        )
    record = json.loads(records[0].read_text())
    arch = record["options"].get("arch", "densenet121")
    network = build(arch)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FilmsError(f"{folder / WEIGHTS} does not fit {records[0].name}: {str(error)[:300]}") from error
    distilled = records[0].name == DISTILLATION_RECORD
    about = {
        "name": folder.name,
        "arch": arch,
        "learned_from": "answers" if distilled else "labels",
        "initial_weights": record.get("initial_weights"),
        "films": record.get("train_answered" if distilled else "train_count"),
        "constant_mean_absolute_difference": record.get("constant_mean_absolute_difference"),
        "epochs": len(record["history"]),
        **{key: value for key, value in record["history"][-1].items() if key.startswith("val_")},
    }
    return Substitute(network.eval().requires_grad_(False), about)
