"""The commands that measure whether the gate stops an attack: evaluate, tamper."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.pipeline import choose_device

from ..attacks.blackbox import load_substitute
from ..attacks.goals import DEEDS
from ..bundles.measure import MeasureOptions, measure
from ..data.command import add_data, films_of
from ..options import Commands, add_bundle, add_options, options_of
from ..report import sentences, write_report
from ..run import a_run
from .experiment import evaluate
from .presets import PRESETS
from .subject import LoadedBundle
from .tamper import FILMS, REPORT, tamper
from .tamper import sentences as tampering_sentences


def add_evaluate(commands: Commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="would this gate stop an attack, which one, and at what cost?",
        description="With --run: the figures of a run's model card (accuracy, false rejection, the paper's white-box "
        "attacks), before export. With --bundle: the whole experiment, with rival detectors, attackers who know the "
        "gate, harmless changes and groups. It resumes where it stopped.",
    )
    add_data(command)
    command.add_argument("--run", type=a_run, help="the folder that train and fit wrote: figures for the model card")
    add_bundle(command)
    command.add_argument("--preset", choices=tuple(PRESETS), default="quick", help="how much (default: %(default)s)")
    command.add_argument("--output", type=Path, help="folder of the results (default: runs/evaluate-PRESET)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--substitute",
        type=a_run,
        action="append",
        default=[],
        help="folder of distil, or of train --arch resnet50, for the black-box attacks; may be repeated: the first makes "
        "the paper's attacks, and all are compared",
    )
    command.add_argument("--show-films", action="store_true", help="show one test film in the report (a person's film)")
    add_options(command.add_argument_group("with --run"), MeasureOptions)
    command.set_defaults(run_command=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> int:
    if parsed.run is not None:
        return _measure(parsed)
    output = parsed.output or Path("runs") / f"evaluate-{parsed.preset}"
    films, device = films_of(parsed), choose_device(parsed.device)
    substitutes = [load_substitute(run) for run in parsed.substitute]
    subject, preset = LoadedBundle.load(parsed.bundle, device), PRESETS[parsed.preset]
    evaluation, arrays = evaluate(subject, films, output, preset, parsed.seed, substitutes)
    write_report(evaluation, arrays, output, show_films=parsed.show_films)
    print("\n".join(sentences(evaluation)))
    print(output / "report.html")
    return 0


def _measure(parsed: argparse.Namespace) -> int:
    options = options_of(MeasureOptions, parsed)
    report = measure(parsed.run, films_of(parsed), choose_device(parsed.device), options, parsed.workers)
    print(f"mean AUROC {report['mean_auroc']:.3f}, false rejection {report['false_rejection_rate']:.1%}")
    for name, row in report["attacks"].items():
        print(f"{name}: detected {row['detection_rate']:.1%}, evaded {row['evasion_rate']:.1%}")
    for row in report.get("aimed", []):
        print(
            f"{row['attacker']}, {DEEDS[row['goal']]} within {row['epsilon'] * 255:.3g}/255: passed with "
            f"{row['evaded']} of {row['eligible']}"
        )
    return 0


def add_tamper(commands: Commands) -> None:
    command = commands.add_parser(
        "tamper",
        help="does the gate see films that were altered by hand: spliced, copied, erased, drawn?",
        description="Alters test films as in an image editor (lungs of another patient, a part of the other lung, a patch "
        "erased, a nodule drawn), judges them as the service does, and writes tampering.json. Forward passes only.",
    )
    add_data(command)
    add_bundle(command)
    command.add_argument("--count", type=int, default=FILMS, help="test films (default: %(default)s)")
    command.add_argument("--output", type=Path, default=Path("runs/tampering"), help="(default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run_command=_tamper)


def _tamper(parsed: argparse.Namespace) -> int:
    films, device = films_of(parsed), choose_device(parsed.device)
    report = tamper(parsed.bundle, films, parsed.output, device, parsed.count, parsed.seed)
    print("\n".join(tampering_sentences(report)))
    print(parsed.output / REPORT)
    return 0
