"""``cxr-offline``: make a bundle from films, report on it, and recalibrate it for other sites.

Each command is defined in the ``command.py`` of the package that does its work. This module lists the commands, in the
order of ``--help``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Final

from app.pipeline.errors import PipelineError

from .bundles.command import add_export, add_new_signing_key, add_sign, add_unpack
from .calls.command import add_calibrate
from .data.films import FilmsError
from .demo import add_demo
from .evaluation.command import add_evaluate, add_tamper
from .gate.command import add_features, add_fit
from .locating.command import add_locate
from .options import Commands
from .recalibrate import RecalibrationRefused
from .recalibrate.command import add_recalibrate
from .training.command import (
    add_distil,
    add_gate_network,
    add_harden,
    add_interpolate_weights,
    add_refit_head,
    add_soften,
    add_train,
)
from .training.memory import keep_freed_memory

REFUSED = 3

COMMANDS: Final[tuple[Callable[[Commands], None], ...]] = (
    add_train,
    add_harden,
    add_interpolate_weights,
    add_soften,
    add_refit_head,
    add_gate_network,
    add_unpack,
    add_features,
    add_fit,
    add_calibrate,
    add_locate,
    add_evaluate,
    add_tamper,
    add_export,
    add_recalibrate,
    add_new_signing_key,
    add_sign,
    add_distil,
    add_demo,
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: success. 1: failure, with the reason on standard error. 2: a wrong command line. 3: a recalibration was refused, and the
    report says why.
    """
    parsed = _parser().parse_args(arguments)
    parsed.arguments = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # this process runs only this command, so that the kept memory is freed at its end
        keep_freed_memory()
    try:
        return int(parsed.run_command(parsed))
    except (FilmsError, PipelineError) as error:
        print(f"cxr-offline: {error}", file=sys.stderr)
        return REFUSED if isinstance(error, RecalibrationRefused) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cxr-offline",
        description="Make the model that cxr-gate serves: train -> fit -> calibrate -> evaluate -> export. Each step reads and "
        "writes one run folder, so that a step can be repeated alone.",
        epilog="Example: cxr-offline train --data FILMS --weights BACKBONE.safetensors --output runs/a; "
        "cxr-offline fit --data FILMS --run runs/a; cxr-offline calibrate --data FILMS --run runs/a; "
        "cxr-offline evaluate --data FILMS --run runs/a; cxr-offline export --data FILMS --run runs/a --output artifacts/mine",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
