"""``python -m research.frontier``: make every defence, measure each on the same films, and show it in research/README.md.

Existing results are not made again: a run that was stopped goes on where it was. ``--quick`` tries it on a handful of films,
and leaves the page and the committed report alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from app.pipeline.backends import choose_device
from offline.data.films import Film, read_films
from offline.evaluation.circumstances import circumstances
from offline.run import Run
from offline.training.gate_network import join_gate_network
from offline.training.harden import RAMP, harden
from offline.training.interpolate_weights import interpolate_weights
from offline.training.memory import keep_freed_memory
from offline.training.refit_head import refit_head

from .band_plot import BAND_PICTURE, write_band_picture
from .plot import PICTURE, write_picture
from .point import QUICK, Measuring, fewer, measure_point
from .recipes import RECIPES, Recipe
from .starting import START, logits_of, start_of, take_kept
from .table import PAGE, bands, filled
from .table import REPORT as FRONTIER

#: Recipes of ``--quick``: one as trained, and one hardened; neither needs a step of training if its run is kept.
QUICK_RECIPES: Final = ("paper", "hardened")


def main(arguments: list[str] | None = None) -> int:
    """Make, measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m research.frontier",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled films")
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/paper"), help="whose network is started from")
    parser.add_argument("--runs", type=Path, help="what is made (default: runs/frontier, or runs/frontier-quick)")
    parser.add_argument("--only", choices=tuple(RECIPES), action="append", help="these alone (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help=f"a handful of films and steps, of {' and '.join(QUICK_RECIPES)} alone"
    )
    parser.add_argument("--report", type=Path, help=f"(default: {FRONTIER}, or in --runs of a quick one)")
    parser.add_argument("--page", type=Path, help=f"whose tables are filled (default: {PAGE}, or none of a quick one)")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    runs: Path = given.runs or Path("runs/frontier-quick" if given.quick else "runs/frontier")
    report_file: Path = given.report or (runs / FRONTIER.name if given.quick else FRONTIER)
    page: Path | None = given.page or (None if given.quick else PAGE)
    keep_freed_memory()
    device, films = choose_device("auto"), read_films(given.data)
    used, measuring = (fewer(films), QUICK) if given.quick else (films, Measuring())
    report: dict[str, Any] = json.loads(report_file.read_text()) if report_file.is_file() else {"points": {}}
    for name in given.only or (QUICK_RECIPES if given.quick else RECIPES):
        recipe = RECIPES[name]
        run = _network_run(recipe, given.bundle, runs, films, device, given.workers)
        print(f"== {name}: {recipe.title}", flush=True)
        network = run.network()
        trained = logits_of(Run(runs / START), used, device, given.workers)
        measured = measure_point(name, network, run, used, recipe.gate, measuring, device, given.workers, trained)
        report["points"][name] = {"title": recipe.title, "training": run.training.read(), **measured}
        report |= circumstances(device)
        report_file.parent.mkdir(parents=True, exist_ok=True)
        report_file.write_text(json.dumps(report, indent=1) + "\n")
    if page is not None:
        page.write_text(filled(page.read_text(), report))
    write_picture(report, report_file.parent / PICTURE.name)
    write_band_picture(report, report_file.parent / BAND_PICTURE.name)
    print(bands(report))
    return 0


def _network_run(
    recipe: Recipe, bundle: Path, runs: Path, films: list[Film], device: torch.device, workers: int
) -> Run:
    """The run with a recipe's network: the bundle's network, or one made from it."""
    start = start_of(bundle, runs)
    run, name = start, "hardened" if recipe.hardening else "start"
    for options in recipe.hardening:
        name += f"-{options.epsilon * 255:.3g}-{options.consistency:g}-{options.epochs}"
        name += f"-ramp-{options.ramp:g}" if options.ramp != RAMP else ""
        before, run = run, Run(runs / name)
        take_kept(run, options)
        harden(before, films, run, options, device)
    if recipe.share != 1:
        name += f"-at-{recipe.share:g}"
        run = _made(Run(runs / name), partial(interpolate_weights, before, run, recipe.share))
    if recipe.relearned:
        name += f"-relearned-{recipe.relearned:g}"
        learn = partial(refit_head, run, [before], films, ridge=recipe.relearned, device=device, workers=workers)
        run = _made(Run(runs / name), learn)
    if recipe.watched:
        run = _made(Run(runs / f"{name}-watched"), partial(join_gate_network, run, start))
    return run


def _made(run: Run, make: Callable[[Run], object]) -> Run:
    """The run; make it if it does not exist."""
    if not run.training.exists:
        make(run)
    return run


if __name__ == "__main__":
    raise SystemExit(main())
