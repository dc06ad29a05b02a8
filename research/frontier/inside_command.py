"""The part of ``python -m research.frontier.rivals`` that puts rivals inside the network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from offline.data.films import Film
from offline.evaluation.circumstances import circumstances
from offline.run import a_run, write_json
from offline.training.harden import HardenOptions

from . import inside
from .point import QUICK, Measuring, fewer
from .starting import start_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``--inside``."""
    usual = HardenOptions()
    group = parser.add_argument_group("inside the network")
    group.add_argument("--inside", choices=inside.NAMES, action="append", help="what is hardened and measured")
    group.add_argument("--start", type=a_run, help="the run to start from (default: the network of artifacts/paper)")
    group.add_argument(
        "--eyes",
        type=a_run,
        help="a run that was not hardened: the gate looks through its first block (default: --start)",
    )
    group.add_argument("--runs", type=Path, default=Path("runs/inside"), help="what is made (default: %(default)s)")
    group.add_argument("--epsilon", type=float, default=usual.epsilon, help="as of 'cxr-offline harden'")
    group.add_argument("--consistency", type=float, default=usual.consistency)
    group.add_argument("--epochs", type=int, default=usual.epochs)
    group.add_argument("--ramp", type=float, default=usual.ramp)
    group.add_argument("--teacher", type=a_run, nargs="+", default=())
    group.add_argument("--precision", choices=("bf16", "float32"), default=usual.precision)
    group.add_argument("--quick", action="store_true", help="a step or two on a handful of films; fills no page")


def run_inside(given: argparse.Namespace, films: list[Film], device: torch.device) -> int:
    """Harden and measure each that was asked for, and write; a report that is there keeps its other rows."""
    options = HardenOptions(
        epsilon=given.epsilon,
        consistency=given.consistency,
        epochs=1 if given.quick else given.epochs,
        precision=given.precision,
        workers=given.workers,
        ramp=given.ramp,
    )
    used, measuring, to = films, Measuring(), given.report or inside.REPORT
    if given.quick:
        films, used, measuring = fewer(films), fewer(films), QUICK
        to = given.report or given.runs / inside.REPORT.name
    report: dict[str, Any] = json.loads(to.read_text()) if to.is_file() else {"networks": {}}
    start = given.start or start_of(Path("artifacts/paper"), given.runs)
    common = inside.Common(
        start=start,
        eyes=given.eyes or start,
        teachers=tuple(given.teacher),
        runs=given.runs,
        films=films,
        used=used,
        options=options,
        measuring=measuring,
        device=device,
        workers=given.workers,
    )
    for name in given.inside:
        print(f"== {name}", flush=True)
        report["networks"][name] = inside.measure_inside(name, common)
        report |= circumstances(device)
        to.parent.mkdir(parents=True, exist_ok=True)
        write_json(to, report)
    print(inside.table_of_inside(report))
    if not given.quick:
        given.page.write_text(inside.filled(given.page.read_text(), report))
    return 0
