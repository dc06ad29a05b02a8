"""``python -m offline.frontier``: make every defence, measure each on the same films, and show it in docs/research.md.

What is there already is not made again: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.pipeline.backends import choose_device
from app.pipeline.bundle import NETWORK, REPORT, read_bundle

from ..average import average
from ..circumstances import circumstances
from ..films import Film, read_films
from ..fit import load_network
from ..harden import RAMP, HardenOptions, harden
from ..memory import keep_freed_memory
from ..relearn import relearn
from ..train import RECORD, WEIGHTS
from ..watch import watch
from .plot import write_picture
from .point import Measuring, measure_point
from .recipes import RECIPES, Recipe
from .table import PAGE, filled
from .table import REPORT as FRONTIER

#: Runs that are kept, since each takes half an hour; of other films, options or another start they are not taken, but made.
KEPT = (Path("artifacts/hardened"), Path("artifacts/hardened-twice"))


def main() -> int:
    """Make, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m offline.frontier", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled films")
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/paper"), help="whose network is started from")
    parser.add_argument("--runs", type=Path, default=Path("runs/frontier"), help="what is made (default: %(default)s)")
    parser.add_argument("--only", choices=tuple(RECIPES), action="append", help="these alone (default: all)")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    keep_freed_memory()
    device, films = choose_device("auto"), read_films(given.data)
    report: dict[str, Any] = json.loads(FRONTIER.read_text()) if FRONTIER.is_file() else {"points": {}}
    for name in given.only or RECIPES:
        recipe = RECIPES[name]
        run = _network_run(recipe, given.bundle, given.runs, films, device, given.workers)
        print(f"== {name}: {recipe.title}", flush=True)
        network = load_network(run)
        measured = measure_point(name, network, run, films, recipe.gate, Measuring(), device, given.workers)
        report["points"][name] = {"title": recipe.title, "training": json.loads((run / RECORD).read_text()), **measured}
        report |= circumstances(device)
        FRONTIER.parent.mkdir(parents=True, exist_ok=True)
        FRONTIER.write_text(json.dumps(report, indent=1) + "\n")
    PAGE.write_text(filled(PAGE.read_text(), report))
    write_picture(report)
    return 0


def _network_run(
    recipe: Recipe, bundle: Path, runs: Path, films: list[Film], device: torch.device, workers: int
) -> Path:
    """The run whose network a recipe asks for: the bundle's, or what was made of it."""
    start = runs / "start"
    if not (start / RECORD).is_file():
        read_bundle(bundle)  # verified, before anything rests on it
        start.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / NETWORK, start / WEIGHTS)
        shutil.copyfile(bundle / REPORT / "training.json", start / RECORD)
    run, name = start, "hardened" if recipe.hardening else "start"
    for options in recipe.hardening:
        name += f"-{options.epsilon * 255:.3g}-{options.consistency:g}-{options.epochs}"
        name += f"-ramp-{options.ramp:g}" if options.ramp != RAMP else ""
        before, run = run, runs / name
        if not run.is_dir():
            _take_kept(run, options)
        harden(before, films, run, options, device)
    if recipe.share != 1:
        name += f"-at-{recipe.share:g}"
        run = _made(runs / name, partial(average, before, run, recipe.share))
    if recipe.relearned:
        name += f"-relearned-{recipe.relearned:g}"
        learn = partial(relearn, run, [before], films, ridge=recipe.relearned, device=device, workers=workers)
        run = _made(runs / name, learn)
    if recipe.watched:
        run = _made(runs / f"{name}-watched", partial(watch, run, start))
    return run


def _made(run: Path, make: Callable[[Path], object]) -> Path:
    """The run in this folder, made if it is not there."""
    if not (run / RECORD).is_file():
        make(run)
    return run


def _take_kept(run: Path, options: HardenOptions) -> None:
    """Copy a kept run of these options, if there is one; ``harden`` sees whether it is of this start and these films."""
    for kept in KEPT:
        record = json.loads((kept / RECORD).read_text())
        if record["options"] == options.record():
            run.mkdir(parents=True)
            for name in (WEIGHTS, RECORD):
                shutil.copyfile(kept / name, run / name)


if __name__ == "__main__":
    raise SystemExit(main())
