"""Transfer attacks: made on a substitute, posted to the service."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from .distil import DISTILLATION_RECORD
from .films import FilmsError
from .substitute import Trainable, build
from .train import RECORD, WEIGHTS


def load_substitute(folder: Path) -> Trainable:
    """The network that ``distil`` or ``train`` wrote into `folder`, of whichever architecture, frozen.

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
    network = build(json.loads(records[0].read_text())["options"].get("arch", "densenet121"))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FilmsError(f"{folder / WEIGHTS} does not fit {records[0].name}: {str(error)[:300]}") from error
    return network.eval().requires_grad_(False)
