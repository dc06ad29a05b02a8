"""What defences start from: a bundle's network as a run, and runs that are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from app.pipeline.bundle import NETWORK, REPORT, read_bundle
from offline.training.harden import HardenOptions
from offline.training.train import RECORD, WEIGHTS

#: Runs that are kept, since each takes half an hour; of other films, options or another start they are not taken, but made.
KEPT: Final = (Path("artifacts/hardened"), Path("artifacts/hardened-twice"))
START: Final = "start"


def start_of(bundle: Path, runs: Path) -> Path:
    """The run of a bundle's network, under `runs`; made once.

    Raises
    ------
    BundleError
        The bundle does not verify.
    """
    start = runs / START
    if not (start / RECORD).is_file():
        read_bundle(bundle)  # verified, before anything rests on it
        start.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / NETWORK, start / WEIGHTS)
        shutil.copyfile(bundle / REPORT / "training.json", start / RECORD)
    return start


def take_kept(run: Path, options: HardenOptions) -> None:
    """Copy a kept run of these options, if there is one, and nothing at `run`.

    ``harden`` sees whether it is of this start and these films.
    """
    if run.is_dir():
        return
    for kept in KEPT:
        record = json.loads((kept / RECORD).read_text())
        if record["options"] == options.record():
            run.mkdir(parents=True)
            for name in (WEIGHTS, RECORD):
                shutil.copyfile(kept / name, run / name)
