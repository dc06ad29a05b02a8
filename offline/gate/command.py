"""The commands that fit the gate: features, fit."""

from __future__ import annotations

import argparse
import sys

from app.pipeline import choose_device

from ..data.command import add_data, films_of
from ..data.films import CHEST_XRAY14_IMAGES, FilmsError
from ..options import Commands, add_options, options_of
from ..run import add_run
from .content import ContentOptions
from .features import Shard
from .fit import FitOptions, extract_shard, fit, training_rule_warning


def add_features(commands: Commands) -> None:
    command = commands.add_parser(
        "features",
        help="extract features ahead of fit, in as many processes or on as many machines as there are shards",
    )
    add_data(command)
    add_run(command)
    part = command.add_mutually_exclusive_group()
    part.add_argument("--shard", default="1/1", help="which part, INDEX/COUNT, as 3/7 (default: %(default)s)")
    part.add_argument(
        "--ray",
        type=int,
        metavar="COUNT",
        help="all of COUNT parts, on a Ray cluster whose machines share the folders of --run and --data",
    )
    command.set_defaults(run_command=_features)


def _features(parsed: argparse.Namespace) -> int:
    if parsed.ray is not None:
        return _features_on_ray(parsed)
    shard = Shard.parse(parsed.shard)
    count, seconds = extract_shard(parsed.run, films_of(parsed), shard, choose_device(parsed.device), parsed.workers)
    if not count:
        print(f"shard {parsed.shard} has no films: there are fewer than shards")
        return 0
    rate = count / seconds
    hours = CHEST_XRAY14_IMAGES / rate / 3600
    print(
        f"shard {parsed.shard}: {count} films, {rate:.1f} images/s; the {CHEST_XRAY14_IMAGES:,} images of ChestX-ray14 would "
        f"take {hours:.1f} h in one such process, {hours / shard.count:.1f} h in {shard.count} that run at this speed"
    )
    return 0


def _features_on_ray(parsed: argparse.Namespace) -> int:
    try:
        from .on_ray import extract_on_ray  # an extra, which nothing else here needs
    except ModuleNotFoundError as error:
        raise FilmsError(f"--ray needs Ray ({error}); pip install 'cxr-gate[ray]'") from error
    try:
        done = extract_on_ray(parsed.run, films_of(parsed), parsed.ray, parsed.device, parsed.workers)
    except ConnectionError as error:
        raise FilmsError(f"no Ray cluster ({error}); run 'ray start', or set RAY_ADDRESS") from error
    print(f"{sum(films for films, _ in done)} films in {len(done)} shards; 'cxr-offline fit' merges them")
    return 0


def add_fit(commands: Commands) -> None:
    command = commands.add_parser("fit", help="fit the Gaussian and put its threshold; fit what tells other images")
    add_data(command)
    add_run(command)
    add_options(command, FitOptions)
    add_options(command, ContentOptions)
    command.set_defaults(run_command=_fit)


def _fit(parsed: argparse.Namespace) -> int:
    options, content = options_of(FitOptions, parsed), options_of(ContentOptions, parsed)
    gate = fit(parsed.run, films_of(parsed), options, choose_device(parsed.device), parsed.workers, content)
    if options.rule == "training":
        print(training_rule_warning(gate), file=sys.stderr)
    print(
        f"fitted on {gate.n} films ({gate.shrinkage}); threshold {gate.threshold.value:.1f} nats, "
        f"{len(gate.calibration_scores)} held-out films: target {options.target:.1%}, "
        f"below {gate.threshold.bound:.1%} with 95 % confidence"
    )
    return 0
