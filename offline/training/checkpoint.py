"""Long work resumes from its last whole epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..data.films import FilmsError
from ..run import PLAIN


def resume(path: Path, state: dict[str, Any], identity: dict[str, Any]) -> tuple[int, list[dict[str, float]]]:
    """Load a checkpoint into the parts of `state`. Returns the number of completed epochs, and their history.

    Raises
    ------
    FilmsError
        The checkpoint comes from a run with other options or data.
    """
    if not path.is_file():
        return 0, []
    saved = torch.load(path, map_location="cpu", weights_only=True)
    saved["identity"]["options"].setdefault("arch", PLAIN)  # runs from before there was a choice
    if saved["identity"] != identity:
        raise FilmsError(
            f"{path} is of a run with other options or data; give the same ones to resume it, or another --output"
        )
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return saved["epoch"], saved["history"]


def save_checkpoint(
    path: Path, state: dict[str, Any], identity: dict[str, Any], epoch: int, history: list[dict[str, float]]
) -> None:
    """Write a temporary file, then rename it: a kill at any moment leaves the last completed epoch."""
    saved = {name: part.state_dict() for name, part in state.items()}
    beside = path.with_suffix(".tmp")
    torch.save({**saved, "identity": identity, "epoch": epoch, "history": history}, beside)
    os.replace(beside, path)
