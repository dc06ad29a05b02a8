"""The starting points of defences: a bundle's network as a run, and stored runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from app.pipeline.bundle import read_bundle
from offline.bundles.unpack import unpack
from offline.data.films import Film, Split, of_split
from offline.gate.features import reuse_or_extract
from offline.run import Run
from offline.training.harden import HardenOptions

from .table import HELD_OUT

#: Stored runs, since each takes half an hour. With other films, options or another start, runs are made again.
KEPT: Final = (Run(Path("artifacts/hardened")), Run(Path("artifacts/hardened-twice")))
START: Final = "start"


def start_of(bundle: Path, runs: Path) -> Run:
    """The run of a bundle's network, under `runs`; made once.

    Raises
    ------
    BundleError
        The bundle does not verify.
    """
    start = Run(runs / START)
    if not start.training.exists:
        read_bundle(bundle)  # verified, before anything rests on it
        unpack(bundle, start)
    return start


def logits_of(start: Run, films: list[Film], device: torch.device, workers: int) -> dict[Split, NDArray[np.float32]]:
    """Logits of held-out films from the network before any defence, shape (N, L) each; extracted into `start` once."""
    network = start.network()
    return {
        split: reuse_or_extract(network, of_split(films, split), start, split, device, workers).logits
        for split in HELD_OUT
    }


def take_kept(run: Run, options: HardenOptions) -> None:
    """Copy a kept run of these options, if there is one, and nothing at `run`.

    ``harden`` sees whether it is of this start and these films.
    """
    if run.folder.is_dir():
        return
    for kept in KEPT:
        if kept.training.read()["options"] == options.record():
            run.folder.mkdir(parents=True)
            shutil.copyfile(kept.weights, run.weights)
            shutil.copyfile(kept.training.path, run.training.path)
