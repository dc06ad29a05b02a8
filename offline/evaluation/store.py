"""Stages on disk: a stored stage is not computed again, and a folder with stages of another run is refused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.films import FilmsError

Arrays = dict[str, NDArray[Any]]
Outcome = tuple[Any, Arrays]  # content for the JSON, and arrays by name
IDENTITY = "identity.json"


@dataclass(frozen=True)
class Stages:
    """A folder of stages, all of one identity (bundle, films, preset, seed)."""

    folder: Path

    @staticmethod
    def open(folder: Path, identity: dict[str, Any]) -> Stages:
        """Open or make a store.

        Raises
        ------
        FilmsError
            The folder holds stages of another identity.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / IDENTITY
        content = json.loads(json.dumps(identity))  # as it will be read back
        if path.exists() and json.loads(path.read_text()) != content:
            raise FilmsError(f"{folder} holds stages of another bundle, films, preset or seed; name another --output")
        path.write_text(json.dumps(content, indent=2) + "\n")
        return Stages(folder)

    def stage(self, name: str, compute: Callable[[], Outcome]) -> Outcome:
        """Read the outcome of a stage, or compute and write it. The JSON comes last, so that a kill leaves no half stage."""
        path = self.folder / f"{name}.json"
        arrays_path = self.folder / f"{name}.npz"
        if not path.exists():
            started = time.monotonic()
            content, arrays = compute()
            _replace(arrays_path, lambda beside: np.savez_compressed(beside, **arrays))  # type: ignore[arg-type]
            text = json.dumps({"seconds": time.monotonic() - started, "content": content})
            _replace(path, lambda beside: beside.write_text(text))
        with np.load(arrays_path) as stored:
            return json.loads(path.read_text())["content"], {key: stored[key] for key in stored.files}

    def seconds(self) -> dict[str, float]:
        """The seconds that each stage took."""
        return {
            path.stem: float(json.loads(path.read_text())["seconds"])
            for path in sorted(self.folder.glob("*.json"))
            if path.name != IDENTITY
        }


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name(f".{path.name}")
    if path.suffix == ".npz":
        beside = beside.with_suffix(".tmp.npz")  # numpy adds the ending where it is missing
    write(beside)
    os.replace(beside, path)
