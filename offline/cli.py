"""``cxr-offline``: from films to a bundle, to its report, and to other sites; ``--help`` lists the commands."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from app.pipeline import choose_device
from app.pipeline.errors import PipelineError
from app.pipeline.signature import TrustedKeys

from .attacks.blackbox import load_substitute
from .attacks.goals import DEEDS
from .bundles.export import export
from .bundles.measure import AIMED_FILMS, CALLED_FILMS, measure
from .bundles.signing import SigningKey, new_signing_key, sign_bundle
from .bundles.typical import fit_typical_maps
from .bundles.unpack import unpack
from .calls import CallOptions, fit_calls, measure_calls_of
from .calls.prevalence import CHEST_XRAY14
from .data.films import CHEST_XRAY14_IMAGES, Film, FilmsError, fingerprint, read_films
from .demo import demo
from .evaluation import PRESETS, evaluate
from .evaluation.presets import AIM
from .evaluation.subject import LoadedBundle
from .evaluation.tamper import FILMS as TAMPERED_FILMS
from .evaluation.tamper import REPORT as TAMPERING
from .evaluation.tamper import sentences as tampering_sentences
from .evaluation.tamper import tamper
from .gate.content import ContentOptions
from .gate.features import Shard
from .gate.fit import FitOptions, extract_shard, fit, load_network, training_rule_warning
from .locating import REPORT as LOCATED
from .locating import Explained, draw, locate, read_boxes
from .locating import sentences as locating_sentences
from .recalibrate import RecalibrationOptions, RecalibrationRefused, read_site, recalibrate
from .recalibrate.words import sentences as recalibration_sentences
from .report import sentences, write_report
from .training.distil import DistilOptions, Served, distil
from .training.gate_network import watch
from .training.harden import HardenOptions, harden
from .training.interpolate_weights import average
from .training.memory import keep_freed_memory
from .training.refit_head import RIDGE, relearn
from .training.soften import soften
from .training.substitute import ARCHS
from .training.train import FINE_TUNING_RATE, FROM_NOTHING_RATE, TrainOptions, train

REFUSED = 3


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 0, or 1 with the reason on standard error, or 2 for a wrong call.

    3: a recalibration was refused, and the report says why.
    """
    parsed = _parser().parse_args(arguments)
    parsed.arguments = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # the process is this command, and ends with it
        keep_freed_memory()
    try:
        return int(parsed.run_command(parsed))
    except (FilmsError, PipelineError) as error:
        print(f"cxr-offline: {error}", file=sys.stderr)
        return REFUSED if isinstance(error, RecalibrationRefused) else 1


def _films(parsed: argparse.Namespace) -> list[Film]:
    films = read_films(parsed.data, split_rule=parsed.split, paper_split=parsed.paper_split, seed=parsed.split_seed)
    counts = {split: sum(film.split == split for film in films) for split in ("train", "val", "test")}
    print(f"{len(films)} films: " + ", ".join(f"{count} {split}" for split, count in counts.items()), file=sys.stderr)
    return films


def _train(parsed: argparse.Namespace) -> int:
    options = TrainOptions(
        epochs=parsed.epochs,
        batch_size=parsed.batch_size,
        seed=parsed.seed,
        precision=parsed.precision,
        workers=parsed.workers,
        arch=parsed.arch,
        backbone_rate=parsed.backbone_rate or _rate(parsed.weights),
        average_decay=parsed.average_decay,
        probe=parsed.probe,
        mixup=parsed.mixup,
        exposure=parsed.exposure,
    )
    device = choose_device(parsed.device).type
    print(train(_films(parsed), parsed.weights, parsed.output, options, device))
    return 0


def _harden(parsed: argparse.Namespace) -> int:
    options = HardenOptions(
        epsilon=parsed.epsilon,
        steps=parsed.steps,
        consistency=parsed.consistency,
        likeness=parsed.likeness,
        epochs=parsed.epochs,
        batch_size=parsed.batch_size,
        seed=parsed.seed,
        precision=parsed.precision,
        workers=parsed.workers,
        ramp=parsed.ramp,
    )
    device = choose_device(parsed.device)
    print(harden(parsed.run, _films(parsed), parsed.output, options, device, parsed.teacher))
    return 0


def _rate(weights: str) -> float:
    return FROM_NOTHING_RATE if weights == "none" else FINE_TUNING_RATE


def _average(parsed: argparse.Namespace) -> int:
    print(average(parsed.run, parsed.other, parsed.share, parsed.output))
    return 0


def _soften(parsed: argparse.Namespace) -> int:
    print(soften(parsed.run, parsed.deviation, parsed.output))
    return 0


def _relearn(parsed: argparse.Namespace) -> int:
    device = choose_device(parsed.device)
    print(relearn(parsed.run, parsed.teacher, _films(parsed), parsed.output, parsed.ridge, device, parsed.workers))
    return 0


def _unpack(parsed: argparse.Namespace) -> int:
    print(unpack(parsed.bundle, parsed.output))
    return 0


def _watch(parsed: argparse.Namespace) -> int:
    print(watch(parsed.run, parsed.by, parsed.output))
    return 0


def _features(parsed: argparse.Namespace) -> int:
    if parsed.ray is not None:
        return _features_on_ray(parsed)
    shard = Shard.parse(parsed.shard)
    count, seconds = extract_shard(parsed.run, _films(parsed), shard, choose_device(parsed.device), parsed.workers)
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
        from .gate.on_ray import extract_on_ray  # an extra, which nothing else here needs
    except ModuleNotFoundError as error:
        raise FilmsError(f"--ray needs Ray ({error}); pip install 'cxr-gate[ray]'") from error
    try:
        done = extract_on_ray(parsed.run, _films(parsed), parsed.ray, parsed.device, parsed.workers)
    except ConnectionError as error:
        raise FilmsError(f"no Ray cluster ({error}); run 'ray start', or set RAY_ADDRESS") from error
    print(f"{sum(films for films, _ in done)} films in {len(done)} shards; 'cxr-offline fit' merges them")
    return 0


def _fit(parsed: argparse.Namespace) -> int:
    options = FitOptions(
        parsed.covariance,
        parsed.ridge,
        parsed.threshold_rule,
        parsed.target,
        parsed.variants,
        parsed.variant_weight,
        parsed.scaled,
    )
    content = ContentOptions(steps=parsed.content_steps)
    gate = fit(parsed.run, _films(parsed), options, choose_device(parsed.device), parsed.workers, content)
    if options.rule == "training":
        print(training_rule_warning(gate), file=sys.stderr)
    print(
        f"fitted on {gate.n} films ({gate.shrinkage}); threshold {gate.threshold.value:.1f} nats, "
        f"{len(gate.calibration_scores)} held-out films: target {options.target:.1%}, "
        f"below {gate.threshold.bound:.1%} with 95 % confidence"
    )
    return 0


def _calibrate(parsed: argparse.Namespace) -> int:
    options = CallOptions(parsed.specificity, parsed.least_bound, parsed.movement_films, parsed.band)
    films, device = _films(parsed), choose_device(parsed.device)
    findings = fit_calls(parsed.run, films, device, options, parsed.prevalence)
    fit_typical_maps(parsed.run, load_network(parsed.run), films, device)
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


def _locate(parsed: argparse.Namespace) -> int:
    films, device = _films(parsed), choose_device(parsed.device)
    boxes = read_boxes(parsed.boxes or parsed.data / "boxes.csv", films)
    if parsed.run is not None:
        explained = Explained.of_run(parsed.run)
    else:
        explained = Explained.of_bundle(LoadedBundle.load(parsed.bundle, device).bundle)
    test = [film for film in films if film.split == "test"]
    others = test[:: max(1, len(test) // parsed.films)][: parsed.films] if parsed.films else test
    report, located = locate(explained, others, boxes, parsed.output, data=fingerprint(films), device=device)
    picture = draw(located, parsed.output)
    print("\n".join(locating_sentences(report)))
    print(f"{parsed.output / LOCATED}; {picture} shows films, so keep it where they are kept")
    return 0


def _evaluate(parsed: argparse.Namespace) -> int:
    if parsed.run is not None:
        return _measure(parsed)
    output = parsed.output or Path("runs") / f"evaluate-{parsed.preset}"
    films, device = _films(parsed), choose_device(parsed.device)
    substitutes = [load_substitute(folder) for folder in parsed.substitute]
    subject, preset = LoadedBundle.load(parsed.bundle, device), PRESETS[parsed.preset]
    evaluation, arrays = evaluate(subject, films, output, preset, parsed.seed, substitutes)
    write_report(evaluation, arrays, output, show_films=parsed.show_films)
    print("\n".join(sentences(evaluation)))
    print(output / "report.html")
    return 0


def _tamper(parsed: argparse.Namespace) -> int:
    report = tamper(
        parsed.bundle, _films(parsed), parsed.output, choose_device(parsed.device), parsed.count, parsed.seed
    )
    print("\n".join(tampering_sentences(report)))
    print(parsed.output / TAMPERING)
    return 0


def _measure(parsed: argparse.Namespace) -> int:
    report = measure(
        parsed.run,
        _films(parsed),
        choose_device(parsed.device),
        epsilon=parsed.epsilon,
        steps=parsed.steps,
        attacked_films=parsed.attacked_films,
        aimed_films=parsed.aimed_films,
        called_films=parsed.called_films,
        aimed_steps=parsed.aimed_steps,
        workers=parsed.workers,
    )
    print(f"mean AUROC {report['mean_auroc']:.3f}, false rejection {report['false_rejection_rate']:.1%}")
    for name, row in report["attacks"].items():
        print(f"{name}: detected {row['detection_rate']:.1%}, evaded {row['evasion_rate']:.1%}")
    for row in report.get("aimed", []):
        print(
            f"{row['attacker']}, {DEEDS[row['goal']]} within {row['epsilon'] * 255:.3g}/255: passed with "
            f"{row['evaded']} of {row['eligible']}"
        )
    return 0


def _export(parsed: argparse.Namespace) -> int:
    manifest = export(
        parsed.run, _films(parsed), parsed.output, choose_device(parsed.device), _command(parsed), _signing_key(parsed)
    )
    print(f"{parsed.output}: {manifest.model_version}, reloaded and compared")
    if manifest.measured is None:
        print("note: not evaluated, so the model card has no numbers; run 'evaluate' before 'export'", file=sys.stderr)
    return 0


def _recalibrate(parsed: argparse.Namespace) -> int:
    key = _signing_key(parsed)  # before the work, which takes minutes
    trusted = TrustedKeys.read(parsed.trusted_keys) if parsed.trusted_keys else None
    subject = LoadedBundle.load(parsed.bundle, choose_device(parsed.device), trusted)
    target = parsed.target or subject.bundle.manifest.gate.target_false_rejection_rate
    report = parsed.report or parsed.output.with_name(f"{parsed.output.name}-report")
    options = RecalibrationOptions(
        target=target,
        most_detection_loss=parsed.most_detection_loss,
        attack_films=parsed.attack_films,
        seed=parsed.seed,
        workers=parsed.workers,
        command=_command(parsed),
        key=key,
    )
    site = read_site(parsed.films, parsed.table, target)
    if not site.patients_known:
        print("note: no table says whose the films are; each counts as a patient of its own", file=sys.stderr)
    manifest, content = recalibrate(subject, site, parsed.bundle, parsed.output, report, options)
    print("\n".join(recalibration_sentences(content)))
    print(f"{parsed.output}: {manifest.model_version}; report in {report}")
    return 0


def _command(parsed: argparse.Namespace) -> str:
    return shlex.join(["cxr-offline", *parsed.arguments])


def _signing_key(parsed: argparse.Namespace) -> SigningKey | None:
    return SigningKey.read(parsed.sign_with) if parsed.sign_with else None


def _new_signing_key(parsed: argparse.Namespace) -> int:
    public, key_id = new_signing_key(parsed.output)
    print(
        f"key {key_id}: {parsed.output} signs, and is for nobody else; {public} verifies, and goes to CXR_TRUSTED_KEYS"
    )
    return 0


def _sign(parsed: argparse.Namespace) -> int:
    key = SigningKey.read(parsed.key)
    manifest = sign_bundle(parsed.bundle, key)
    print(f"{parsed.bundle}: {manifest.model_version}, signed by {key.id}")
    return 0


def _distil(parsed: argparse.Namespace) -> int:
    options = DistilOptions(
        arch=parsed.arch,
        rate=_rate(parsed.weights),
        epochs=parsed.epochs,
        batch_size=parsed.batch_size,
        seed=parsed.seed,
        precision=parsed.precision,
        workers=parsed.workers,
    )
    device = choose_device(parsed.device)
    if parsed.run is not None:
        served = Served.of_run(parsed.run, device)
    else:
        bundle = LoadedBundle.load(parsed.bundle, device).bundle
        served = Served(bundle.network, bundle.gaussian, bundle.manifest.gate.threshold)
    record = distil(served, _films(parsed), parsed.output, options, device, parsed.weights)
    last = record["history"][-1]
    print(
        f"learned from {record['train_answered']} answers ({record['train_rejected']} films were rejected and gave none); "
        f"on {record['val_answered']} val films the probabilities differ by {last['val_mean_absolute_difference']:.4f} "
        f"on average (a constant answer: {record['constant_mean_absolute_difference']:.4f}), "
        f"correlation {last['val_correlation']:.2f}"
    )
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    answers = demo(parsed.url, parsed.bundle, parsed.film, parsed.epsilon, parsed.steps)
    for answer in answers:
        print(f"{answer.status}  {answer.title}\n     {answer.text}")
    as_hoped = [answer.status for answer in answers] == [200, 200, 422]
    if not as_hoped:
        print("not 200, 200, 422: about one clean film in twenty is rejected; try another --film", file=sys.stderr)
    return 0 if as_hoped else 1


def _add_sign_with(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sign-with", type=Path, metavar="FILE", help="private key that signs the bundle")


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not over 0 and under 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cxr-offline",
        description="Make the model that cxr-gate serves: train -> fit -> evaluate -> export. Each step reads and writes "
        "one run folder, so that a step can be repeated alone.",
        epilog="Example: cxr-offline train --data FILMS --weights BACKBONE.safetensors --output runs/a; "
        "cxr-offline fit --data FILMS --run runs/a; cxr-offline evaluate --data FILMS --run runs/a; "
        "cxr-offline export --data FILMS --run runs/a --output artifacts/mine",
    )
    shared_data = Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data")
    commands = parser.add_subparsers(dest="command", required=True)
    defaults, fit_defaults, distil_defaults = TrainOptions(), FitOptions(), DistilOptions()
    harden_defaults = HardenOptions()

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data",
        type=Path,
        default=shared_data / "chest_xrays",
        help="folder with labels.csv, or with the NIH's Data_Entry_2017*.csv beside images_*/images (default: %(default)s)",
    )
    data.add_argument("--split", choices=("auto", "column", "patient", "paper"), default="auto")
    data.add_argument("--paper-split", type=Path, help="list 'Image Index,split' (.csv or .csv.gz) for --split paper")
    data.add_argument("--split-seed", type=int, default=0, help="seed of --split patient")
    data.add_argument("--device", default="auto", help="auto (the GPU if there is one), cpu or cuda")
    data.add_argument(
        "--workers", type=int, default=defaults.workers, help="processes that decode (default: %(default)s)"
    )
    run = argparse.ArgumentParser(add_help=False)
    run.add_argument("--run", type=Path, required=True, help="the folder that train wrote")

    command = commands.add_parser("train", parents=[data], help="train on labelled films; resumes if stopped")
    command.add_argument("--output", type=Path, required=True, help="the run's folder")
    command.add_argument(
        "--weights",
        default="IMAGENET1K_V1",
        help="initial backbone: a .safetensors file, torchvision weights by name (downloaded), or none (default: %(default)s)",
    )
    command.add_argument(
        "--arch",
        choices=ARCHS,
        default=defaults.arch,
        help="densenet121: what is served. resnet50: the substitute of a black-box attacker (default: %(default)s)",
    )
    command.add_argument("--epochs", type=int, default=defaults.epochs)
    command.add_argument("--batch-size", type=int, default=defaults.batch_size)
    command.add_argument("--seed", type=int, default=defaults.seed)
    command.add_argument(
        "--precision", choices=("bf16", "float32"), default=defaults.precision, help="of the forward pass"
    )
    command.add_argument(
        "--probe",
        action="store_true",
        help="before the first step fit batch statistics and the last layer alone; runs with it can be averaged",
    )
    command.add_argument(
        "--mixup",
        type=float,
        default=defaults.mixup,
        help="blend films and their labels by a share from Beta(MIXUP, MIXUP); 0 is not (default: %(default)s)",
    )
    command.add_argument("--exposure", action="store_true", help="vary gamma and noise of the films too")
    command.add_argument(
        "--backbone-rate",
        type=float,
        help=f"highest learning rate of the backbone (default: {FINE_TUNING_RATE:g}, or {FROM_NOTHING_RATE:g} with --weights "
        "none)",
    )
    command.add_argument(
        "--average-decay",
        type=float,
        default=defaults.average_decay,
        help="of the moving average of the weights, which is what is written (default: %(default)s)",
    )
    command.set_defaults(run_command=_train)

    command = commands.add_parser(
        "harden",
        parents=[data, run],
        help="train a trained network further, against small attacks, into a run of its own; resumes if stopped",
    )
    command.add_argument("--output", type=Path, required=True, help="the hardened run's folder")
    command.add_argument(
        "--epsilon",
        type=float,
        default=harden_defaults.epsilon,
        help="budget of the attacks in training, pixels in [0,1] (default: 1.5/255)",
    )
    command.add_argument(
        "--steps", type=int, default=harden_defaults.steps, help="of each of them (default: %(default)s)"
    )
    command.add_argument(
        "--consistency",
        type=float,
        default=harden_defaults.consistency,
        help="weight of the attacked film's logits being the film's: more is harder, and less accurate (default: %(default)s)",
    )
    command.add_argument(
        "--likeness",
        type=float,
        default=harden_defaults.likeness,
        help="weight of the logits being those of the teacher (default: %(default)s)",
    )
    command.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=(),
        help="runs whose mean logits are the teacher's: an ensemble's answer (default: the run that is hardened)",
    )
    command.add_argument(
        "--ramp",
        type=float,
        default=harden_defaults.ramp,
        help="share of the training in which the budget grows from nothing to --epsilon, 0 to 1 (default: %(default)s)",
    )
    command.add_argument("--epochs", type=int, default=harden_defaults.epochs)
    command.add_argument("--batch-size", type=int, default=harden_defaults.batch_size)
    command.add_argument("--seed", type=int, default=harden_defaults.seed)
    command.add_argument("--precision", choices=("bf16", "float32"), default=harden_defaults.precision)
    command.set_defaults(run_command=_harden)

    command = commands.add_parser(
        "average",
        help="a run between another and what was hardened from it, or beyond: accuracy against hardness",
    )
    command.add_argument("--run", type=Path, required=True)
    command.add_argument("--other", type=Path, required=True, help="hardened from --run")
    command.add_argument(
        "--share",
        type=float,
        default=0.5,
        help="of --other; over 1 goes beyond it: harder, and less accurate (default: %(default)s)",
    )
    command.add_argument("--output", type=Path, required=True, help="the new run's folder")
    command.set_defaults(run_command=_average)

    command = commands.add_parser(
        "soften",
        help="blur the filters of a network's first layer, so that changes of single pixels move it less; relearn after it",
    )
    command.add_argument("--run", type=Path, required=True)
    command.add_argument(
        "--deviation", type=float, default=1.0, help="of the blur, in pixels of the 224 (default: %(default)s)"
    )
    command.add_argument("--output", type=Path, required=True, help="the new run's folder")
    command.set_defaults(run_command=_soften)

    command = commands.add_parser(
        "relearn",
        parents=[data],
        help="learn the last layer of a hardened network anew from the network before: accuracy back, hardness kept",
    )
    command.add_argument("--run", type=Path, required=True, help="the hardened run, whose features stay")
    command.add_argument(
        "--teacher",
        type=Path,
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
    command.add_argument("--output", type=Path, required=True, help="the new run's folder")
    command.set_defaults(run_command=_relearn)

    command = commands.add_parser(
        "watch",
        help="put a watch beside a hardened network: the first block of one that was not hardened, for the gate to look through",
    )
    command.add_argument("--run", type=Path, required=True, help="the hardened run")
    command.add_argument("--by", type=Path, required=True, help="the run whose first block watches")
    command.add_argument(
        "--output", type=Path, required=True, help="the joined run's folder, to be fitted with --scaled"
    )
    command.set_defaults(run_command=_watch)

    command = commands.add_parser(
        "unpack",
        help="the run in a bundle: its network, for a gate to be fitted anew",
        description="Writes a bundle's network and the record of its training as a run. Use it where a bundle is of an earlier "
        "format: the network stays, and fit and export make a bundle of today's format with it.",
    )
    command.add_argument(
        "--bundle", type=Path, required=True, help="the bundle's folder, of this format or an earlier one"
    )
    command.add_argument("--output", type=Path, required=True, help="the new run's folder")
    command.set_defaults(run_command=_unpack)

    command = commands.add_parser(
        "features",
        parents=[data, run],
        help="extract features ahead of fit, in as many processes or on as many machines as there are shards",
    )
    part = command.add_mutually_exclusive_group()
    part.add_argument("--shard", default="1/1", help="which part, INDEX/COUNT, as 3/7 (default: %(default)s)")
    part.add_argument(
        "--ray",
        type=int,
        metavar="COUNT",
        help="all of COUNT parts, on a Ray cluster whose machines share the folders of --run and --data",
    )
    command.set_defaults(run_command=_features)

    command = commands.add_parser(
        "fit", parents=[data, run], help="fit the Gaussian and put its threshold; fit what tells other images"
    )
    command.add_argument("--covariance", choices=("lambda", "ledoit-wolf", "oas"), default=fit_defaults.covariance)
    command.add_argument(
        "--lambda", dest="ridge", type=float, default=fit_defaults.ridge, help="of S + lambda I (default: %(default)s)"
    )
    command.add_argument(
        "--target", type=float, default=fit_defaults.target, help="false-rejection rate (default: %(default)s)"
    )
    command.add_argument(
        "--threshold-rule",
        choices=("held-out", "training"),
        default=fit_defaults.rule,
        help="held-out: conformal quantile of val films. training: the paper's rule, far too strict when n is near 1024",
    )
    command.add_argument(
        "--variants",
        type=int,
        default=fit_defaults.variants,
        help="fit on so many copies of each training film too, under harmless changes (noise, gamma, JPEG, small turns), so "
        "that these are not refused; 0 is the paper's gate (default: %(default)s)",
    )
    command.add_argument(
        "--variant-weight",
        type=float,
        default=fit_defaults.variant_weight,
        help="what each of these copies counts as, beside its film's 1: with more, attacks that look like noise pass "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--scaled",
        action="store_true",
        help="put features into units of their deviations before --lambda is added, as those of a watch need",
    )
    command.add_argument(
        "--content-steps",
        type=int,
        default=ContentOptions().steps,
        help="steps in which the check that a film is a frontal chest film is trained (default: %(default)s)",
    )
    command.set_defaults(run_command=_fit)

    command = commands.add_parser(
        "calibrate",
        parents=[data, run],
        help="learn from held-out films what a probability is, and from where a finding is called present or absent",
        description="Calibrates the logits on the val films, puts the point of 'present' where the specificity is as asked, and "
        "the point of 'absent' so far below that an attacker within 2/255, who knows everything, cannot reach from one to the "
        "other. Writes calls.json and calls-report.json into the run. Run it after 'fit' and before 'export'; it resumes.",
    )
    command.add_argument(
        "--prevalence",
        type=Path,
        default=CHEST_XRAY14,
        help="CSV (finding,prevalence) of the films that probabilities shall hold for (default: those of ChestX-ray14)",
    )
    command.add_argument(
        "--specificity", type=_share, default=CallOptions.specificity, help="of 'present' (default: %(default)s)"
    )
    command.add_argument(
        "--least-bound",
        type=_share,
        default=CallOptions.least_bound,
        help="its lower bound of 95 %% confidence is at least this (default: %(default)s)",
    )
    command.add_argument(
        "--movement-films",
        type=int,
        default=CallOptions.movement_films,
        help="val films on which an attacker moves each logit; 0: not measured (default: %(default)s)",
    )
    command.add_argument(
        "--band",
        type=float,
        help="width of the band in deviations of the logit (default: as wide as what the attacker moves)",
    )
    command.set_defaults(run_command=_calibrate)

    command = commands.add_parser(
        "locate",
        parents=[data],
        help="does a heatmap show where the finding is? Measured on boxes that radiologists drew",
        description="Compares maps of a finding with boxes: the class activation map, the same relative to typical films, "
        "Grad-CAM, LayerCAM and a product, each also spread over its neighbours, as what is served is. Told are: whether the "
        "strongest place lies in the box, how much the strongest tenth overlaps it, how many maps are empty or strongest beside "
        "the chest; the same of points that look at no film, and of another film's map. Films that the network was trained on "
        "are told apart. Writes located.json, and located.png, which shows films.",
        epilog="Example: cxr-offline locate --bundle artifacts/default --boxes BBox_List_2017.csv --output runs/located",
    )
    made = command.add_mutually_exclusive_group()
    made.add_argument("--run", type=Path, help="a run after 'calibrate'")
    made.add_argument(
        "--bundle", type=Path, default=Path("artifacts/default"), help="what is served (default: %(default)s)"
    )
    command.add_argument(
        "--boxes",
        type=Path,
        help="the NIH's list: image, finding, x, y, width, height in pixels of the 1024x1024 originals (default: boxes.csv in "
        "the folder of --data)",
    )
    command.add_argument(
        "--films",
        type=int,
        default=0,
        help="so many test films, evenly spread, are asked whether a heatmap shows something (default: 0, all of them)",
    )
    command.add_argument("--output", type=Path, default=Path("runs/located"), help="folder (default: %(default)s)")
    command.set_defaults(run_command=_locate)

    command = commands.add_parser(
        "evaluate",
        parents=[data],
        help="would this gate stop an attack, which one, and at what cost?",
        description="With --run: the figures of a run's model card (accuracy, false rejection, the paper's white-box "
        "attacks), before export. With --bundle: the whole experiment, with rival detectors, attackers who know the "
        "gate, harmless changes and groups. It resumes where it stopped.",
    )
    command.add_argument("--run", type=Path, help="the folder that train and fit wrote: figures for the model card")
    command.add_argument("--bundle", type=Path, default=Path("artifacts/default"), help="(default: %(default)s)")
    command.add_argument("--preset", choices=tuple(PRESETS), default="quick", help="how much (default: %(default)s)")
    command.add_argument("--output", type=Path, help="folder of the results (default: runs/evaluate-PRESET)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--substitute",
        type=Path,
        action="append",
        default=[],
        help="folder of distil, or of train --arch resnet50, for the black-box attacks; may be repeated: the first makes "
        "the paper's attacks, and all are compared",
    )
    command.add_argument("--show-films", action="store_true", help="show one test film in the report (a person's film)")
    command.add_argument("--epsilon", type=float, default=0.02, help="with --run: L-infinity budget, pixels in [0,1]")
    command.add_argument("--steps", type=int, default=10, help="with --run: of BIM, PGD and MIM")
    command.add_argument(
        "--attacked-films",
        type=int,
        default=0,
        help="with --run: test films on which the paper's attacks are tried, evenly spread (default: all)",
    )
    command.add_argument(
        "--aimed-films",
        type=int,
        default=AIMED_FILMS,
        help="with --run: test films on which attackers with a goal are tried; 0 for none (default: %(default)s)",
    )
    command.add_argument(
        "--called-films",
        type=int,
        default=CALLED_FILMS,
        help="with --run: on how many test films an attacker who wants nothing else tries to turn calls, 0 for none (default: "
        "%(default)s)",
    )
    command.add_argument(
        "--aimed-steps", type=int, default=AIM.steps, help="with --run: of those attackers (default: %(default)s)"
    )
    command.set_defaults(run_command=_evaluate)

    command = commands.add_parser(
        "tamper",
        parents=[data],
        help="does the gate see films that were altered by hand: spliced, copied, erased, drawn?",
        description="Alters test films as in an image editor (lungs of another patient, a part of the other lung, a patch "
        "erased, a nodule drawn), judges them as the service does, and writes tampering.json. Forward passes only.",
    )
    command.add_argument("--bundle", type=Path, default=Path("artifacts/default"), help="(default: %(default)s)")
    command.add_argument("--count", type=int, default=TAMPERED_FILMS, help="test films (default: %(default)s)")
    command.add_argument("--output", type=Path, default=Path("runs/tampering"), help="(default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run_command=_tamper)

    command = commands.add_parser("export", parents=[data, run], help="write a bundle, reload it and compare")
    command.add_argument("--output", type=Path, required=True, help="the bundle's folder; replaced whole if it exists")
    _add_sign_with(command)
    command.set_defaults(run_command=_export)

    command = commands.add_parser(
        "recalibrate",
        help="move a bundle's gate to a site's own clean films",
        description="Fits mean, covariance and threshold to a site's clean films, shrunk toward the bundle's; the network "
        "stays. Shows before and after on held-out films and their attacked copies, and refuses (exit code 3) when the "
        "attacks would be caught less, or the films look attacked. See docs/recalibration.md.",
    )
    command.add_argument("--bundle", type=Path, default=Path("artifacts/default"), help="(default: %(default)s)")
    command.add_argument("--films", type=Path, required=True, help="folder of the site's PNG, JPEG and DICOM files")
    command.add_argument(
        "--output", type=Path, required=True, help="the new bundle's folder; replaced whole if it exists"
    )
    command.add_argument(
        "--table",
        type=Path,
        help="CSV with the column file (path in the folder), optionally patient, and others as groups: scanner, view, sex",
    )
    command.add_argument("--report", type=Path, help="folder of the report, also of a refusal (default: OUTPUT-report)")
    command.add_argument("--target", type=_share, help="false-rejection rate (default: the bundle's)")
    command.add_argument(
        "--most-detection-loss",
        type=float,
        default=RecalibrationOptions.most_detection_loss,
        help="share of the stored attacks that may be lost (default: %(default)s)",
    )
    command.add_argument(
        "--attack-films",
        type=int,
        default=RecalibrationOptions.attack_films,
        help="films to attack (default: %(default)s)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the folds by patient")
    command.add_argument("--device", default="auto", help="auto (the GPU if there is one), cpu or cuda")
    command.add_argument("--workers", type=int, default=defaults.workers, help="processes that decode")
    _add_sign_with(command)
    command.add_argument(
        "--trusted-keys",
        type=Path,
        default=os.environ.get("CXR_TRUSTED_KEYS") or None,
        help="public keys, of which one must have signed the bundle that is moved: a PEM file, or a folder of *.pem "
        "(default: CXR_TRUSTED_KEYS, else it need not be signed)",
    )
    command.set_defaults(run_command=_recalibrate)

    command = commands.add_parser(
        "new-signing-key",
        help="make an Ed25519 key that signs bundles",
        description="Write a private key, readable by its owner alone, and the public key beside it (FILE.pem). A service "
        "with CXR_TRUSTED_KEYS takes only bundles that a key there signed: docs/versions.md.",
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the private key's file; must not be"
    )
    command.set_defaults(run_command=_new_signing_key)

    command = commands.add_parser(
        "sign",
        help="sign a bundle that is there",
        description="Check the SHA-256 of every file of the bundle, then sign its manifest. Look at it first: "
        "cxr-gate verify-bundle, and check-bundle.",
    )
    command.add_argument("bundle", type=Path, metavar="DIR")
    command.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")
    command.set_defaults(run_command=_sign)

    command = commands.add_parser(
        "distil", parents=[data], help="train a substitute from the service's answers alone, as an outsider could"
    )
    command.add_argument("--run", type=Path, help="the folder that train and fit wrote: what its export would answer")
    command.add_argument(
        "--bundle", type=Path, default=Path("artifacts/default"), help="what is served (default: %(default)s)"
    )
    command.add_argument("--output", type=Path, required=True, help="the substitute's folder")
    command.add_argument("--arch", choices=ARCHS, default=distil_defaults.arch)
    command.add_argument(
        "--weights",
        default="none",
        help="initial backbone, as of train; an outsider may have any (default: %(default)s)",
    )
    command.add_argument("--epochs", type=int, default=distil_defaults.epochs)
    command.add_argument("--batch-size", type=int, default=distil_defaults.batch_size)
    command.add_argument("--seed", type=int, default=distil_defaults.seed)
    command.add_argument("--precision", choices=("bf16", "float32"), default=distil_defaults.precision)
    command.set_defaults(run_command=_distil)

    command = commands.add_parser("demo", help="post a film and its attacked copy to a running service")
    command.add_argument("--url", default="http://127.0.0.1:8000")
    command.add_argument(
        "--bundle", type=Path, default=Path("artifacts/default"), help="the bundle that is served there"
    )
    command.add_argument(
        "--film",
        type=Path,
        default=shared_data / "dicom" / "dx_chest_no_finding.dcm",
        help="PNG, JPEG or DICOM (default: %(default)s)",
    )
    command.add_argument("--epsilon", type=float, default=0.02)
    command.add_argument("--steps", type=int, default=10)
    command.set_defaults(run_command=_demo)
    return parser


if __name__ == "__main__":
    sys.exit(main())
