"""The commands that make a network: train, harden, interpolate-weights, soften, refit-head, gate-network, distil."""

from __future__ import annotations

import argparse

from app.pipeline import choose_device

from ..data.command import add_data, films_of
from ..evaluation.subject import LoadedBundle
from ..options import Commands, add_bundle, add_options, options_of
from ..run import a_run, add_output, add_run
from .distil import DistilOptions, Served, distil
from .gate_network import join_gate_network
from .harden import HardenOptions, harden
from .interpolate_weights import interpolate_weights
from .optimisation import FINE_TUNING_RATE, FROM_NOTHING_RATE
from .refit_head import RIDGE, refit_head
from .soften import soften
from .train import TrainOptions, train


def add_train(commands: Commands) -> None:
    command = commands.add_parser("train", help="train on labelled films; resumes if stopped")
    add_data(command)
    add_output(command, "the run's folder")
    command.add_argument(
        "--weights",
        default="IMAGENET1K_V1",
        help="initial backbone: a .safetensors file, torchvision weights by name (downloaded), or none (default: %(default)s)",
    )
    command.add_argument(
        "--backbone-rate",
        type=float,
        help=f"highest learning rate of the backbone (default: {FINE_TUNING_RATE:g}, or {FROM_NOTHING_RATE:g} with --weights "
        "none)",
    )
    add_options(command, TrainOptions)
    command.set_defaults(run_command=_train)


def _train(parsed: argparse.Namespace) -> int:
    rate = parsed.backbone_rate or _rate(parsed.weights)
    options = options_of(TrainOptions, parsed, backbone_rate=rate, workers=parsed.workers)
    print(train(films_of(parsed), parsed.weights, parsed.output, options, choose_device(parsed.device).type))
    return 0


def _rate(weights: str) -> float:
    return FROM_NOTHING_RATE if weights == "none" else FINE_TUNING_RATE


def add_harden(commands: Commands) -> None:
    command = commands.add_parser(
        "harden",
        help="train a trained network further, against small attacks, into a run of its own; resumes if stopped",
    )
    add_data(command)
    add_run(command)
    add_output(command, "the hardened run's folder")
    command.add_argument(
        "--teacher",
        type=a_run,
        nargs="+",
        default=(),
        help="runs whose mean logits are the teacher's: an ensemble's answer (default: the run that is hardened)",
    )
    add_options(command, HardenOptions)
    command.set_defaults(run_command=_harden)


def _harden(parsed: argparse.Namespace) -> int:
    options = options_of(HardenOptions, parsed, workers=parsed.workers)
    device = choose_device(parsed.device)
    print(harden(parsed.run, films_of(parsed), parsed.output, options, device, parsed.teacher))
    return 0


def add_interpolate_weights(commands: Commands) -> None:
    command = commands.add_parser(
        "interpolate-weights",
        help="a run between another and what was hardened from it, or beyond: accuracy against hardness",
    )
    command.add_argument("--run", type=a_run, required=True, help="the run before it was hardened")
    command.add_argument("--other", type=a_run, required=True, help="hardened from --run")
    command.add_argument(
        "--share",
        type=float,
        default=0.5,
        help="of --other; over 1 goes beyond it: harder, and less accurate (default: %(default)s)",
    )
    add_output(command)
    command.set_defaults(run_command=_interpolate_weights)


def _interpolate_weights(parsed: argparse.Namespace) -> int:
    print(interpolate_weights(parsed.run, parsed.other, parsed.share, parsed.output))
    return 0


def add_soften(commands: Commands) -> None:
    command = commands.add_parser(
        "soften",
        help="blur the filters of a network's first layer, so that changes of single pixels move it less; refit-head after it",
    )
    command.add_argument("--run", type=a_run, required=True, help="the run that is softened")
    command.add_argument(
        "--deviation", type=float, default=1.0, help="of the blur, in pixels of the 224 (default: %(default)s)"
    )
    add_output(command)
    command.set_defaults(run_command=_soften)


def _soften(parsed: argparse.Namespace) -> int:
    print(soften(parsed.run, parsed.deviation, parsed.output))
    return 0


def add_refit_head(commands: Commands) -> None:
    command = commands.add_parser(
        "refit-head",
        help="learn the last layer of a hardened network anew from the network before: accuracy back, hardness kept",
    )
    add_data(command)
    command.add_argument("--run", type=a_run, required=True, help="the hardened run, whose features stay")
    command.add_argument(
        "--teacher",
        type=a_run,
        nargs="+",
        required=True,
        help="the run whose logits are learned; of several, their mean",
    )
    command.add_argument(
        "--ridge",
        type=float,
        default=RIDGE,
        help="in mean variances of the features; more is harder, and less accurate (default: %(default)s)",
    )
    add_output(command)
    command.set_defaults(run_command=_refit_head)


def _refit_head(parsed: argparse.Namespace) -> int:
    films, device = films_of(parsed), choose_device(parsed.device)
    print(refit_head(parsed.run, parsed.teacher, films, parsed.output, parsed.ridge, device, parsed.workers))
    return 0


def add_gate_network(commands: Commands) -> None:
    command = commands.add_parser(
        "gate-network",
        help="give the gate a network of its own beside a hardened one: the first block of one that was not hardened",
    )
    command.add_argument("--run", type=a_run, required=True, help="the hardened run")
    command.add_argument("--by", type=a_run, required=True, help="the run whose first block the gate looks through")
    add_output(command, "the joined run's folder, to be fitted with --scaled")
    command.set_defaults(run_command=_gate_network)


def _gate_network(parsed: argparse.Namespace) -> int:
    print(join_gate_network(parsed.run, parsed.by, parsed.output))
    return 0


def add_distil(commands: Commands) -> None:
    command = commands.add_parser(
        "distil", help="train a substitute from the service's answers alone, as an outsider could"
    )
    add_data(command)
    command.add_argument("--run", type=a_run, help="the folder that train and fit wrote: what its export would answer")
    add_bundle(command)
    add_output(command, "the substitute's folder")
    command.add_argument(
        "--weights",
        default="none",
        help="initial backbone, as of train; an outsider may have any (default: %(default)s)",
    )
    add_options(command, DistilOptions)
    command.set_defaults(run_command=_distil)


def _distil(parsed: argparse.Namespace) -> int:
    options = options_of(DistilOptions, parsed, rate=_rate(parsed.weights), workers=parsed.workers)
    device = choose_device(parsed.device)
    if parsed.run is not None:
        served = Served.of_run(parsed.run, device)
    else:
        bundle = LoadedBundle.load(parsed.bundle, device).bundle
        served = Served(bundle.network, bundle.gate)
    record = distil(served, films_of(parsed), parsed.output, options, device, parsed.weights)
    last = record["history"][-1]
    print(
        f"learned from {record['train_answered']} answers ({record['train_rejected']} films were rejected and gave none); "
        f"on {record['val_answered']} val films the probabilities differ by {last['val_mean_absolute_difference']:.4f} "
        f"on average (a constant answer: {record['constant_mean_absolute_difference']:.4f}), "
        f"correlation {last['val_correlation']:.2f}"
    )
    return 0
