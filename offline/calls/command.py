"""``cxr-offline calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.pipeline import choose_device

from ..bundles.typical import fit_typical_maps
from ..data.command import add_data, films_of
from ..options import Commands, add_options, options_of
from ..run import add_run
from .fitting import CallOptions, fit_calls
from .measuring import measure_calls_of
from .prevalence import CHEST_XRAY14


def add_calibrate(commands: Commands) -> None:
    command = commands.add_parser(
        "calibrate",
        help="learn from held-out films what a probability is, and from where a finding is called present or absent",
        description="Calibrates the logits on the val films, puts the point of 'present' where the specificity is as asked, and "
        "the point of 'absent' so far below that an attacker within 2/255, who knows everything, cannot reach from one to the "
        "other. Writes calls.json and calls-report.json into the run. Run it after 'fit' and before 'export'; it resumes.",
    )
    add_data(command)
    add_run(command)
    command.add_argument(
        "--prevalence",
        type=Path,
        default=CHEST_XRAY14,
        help="CSV (finding,prevalence) of the films that probabilities shall hold for (default: those of ChestX-ray14)",
    )
    add_options(command, CallOptions)
    command.set_defaults(run_command=_calibrate)


def _calibrate(parsed: argparse.Namespace) -> int:
    films, device = films_of(parsed), choose_device(parsed.device)
    findings = fit_calls(parsed.run, films, device, options_of(CallOptions, parsed), parsed.prevalence)
    fit_typical_maps(parsed.run, parsed.run.network(), films, device)
    found = measure_calls_of(parsed.run, films)
    called = [finding for finding in findings if finding.present_from is not None]
    print(f"{len(called)} of {len(findings)} findings are called; on {found['films']} test films:")
    if not called:
        return 0
    print(f"  {found['indeterminate']:.1%} of the answers are indeterminate")
    if not found["films_without_findings"]:
        return 0
    print(
        f"  {found['false_calls_on_a_film_without_findings']:.2f} findings are called present on a film without findings, "
        f"and {found['films_without_findings_with_a_call']:.0%} of these films have one"
    )
    return 0
