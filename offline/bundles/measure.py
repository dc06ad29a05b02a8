"""Measure a fitted run on its test films, clean and attacked as in the paper, for the model card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from app.pipeline.gate import Gate
from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork, LogitsOnly

from ..attacks import AttackOptions, as_posted, attack, paper_attacks
from ..attacks.goals import OPPOSITE
from ..data.films import Film, fingerprint, of_split, patients_of, some_of, targets_of
from ..data.loading import in_order
from ..evaluation.adaptive import STEEPEST, aimed_rows, store_in
from ..evaluation.presets import AIM
from ..evaluation.store import Outcome
from ..evaluation.subject import victim_of_run
from ..gate.features import saved
from ..gate.fit import FitOptions, FittedGate, load_gate
from ..metrics import auroc_of_each, bootstrap_interval, mean_auroc
from ..options import option
from ..run import Run, weights_sha256
from ..training.optimisation import autocast

BATCH = 10


@dataclass(frozen=True)
class MeasureOptions:
    """How hard a run is attacked.

    An attacker with a goal costs a hundred passes for each film, or more; the steepest costs some fifty.
    """

    epsilon: float = option(0.02, "L-infinity budget of the paper's attacks, pixels in [0,1]")
    steps: int = option(10, "of BIM, PGD and MIM")
    attacked_films: int = option(
        0, "test films on which the paper's attacks are tried, evenly spread (default: 0, all of them)"
    )
    aimed_films: int = option(32, "test films on which attackers with a goal are tried; 0 for none")
    called_films: int = option(
        64, "on how many test films an attacker who wants nothing else tries to turn calls; 0 for none"
    )
    aimed_steps: int = option(AIM.steps, "of those attackers")


def measure(run: Run, films: list[Film], device: torch.device, options: MeasureOptions, workers: int) -> dict[str, Any]:
    """Measure a fitted run on its test films and write ``report.json`` into `run`.

    Clean and attacked images are rounded to 8 bits at 224x224 before the gate judges them, like posted images.
    The threshold is the run's own: nothing is chosen on the test films.

    Returns
    -------
    dict
        AUROC of each finding and their mean; false-rejection rate overall and by group; for each attack detection_rate,
        evasion_rate and flip_rate; with counts and 95 % bootstrap intervals over patients. ``aimed`` holds the results of
        attackers with a goal (``evaluation.adaptive``). If the run calls findings, their goals include calls, and the steepest
        attacker tries to turn calls too.
    """
    test = of_split(films, "test")
    gate, fit_options = load_gate(run)
    network = run.network().to(device)
    outputs = saved(run, "test")
    targets = targets_of(test)
    patients = patients_of(test)
    # AUROC and false rejection are measured on full-size films, as a hospital sends them.
    rejected = ~gate.gate.accepts(outputs.gate_features)
    each = auroc_of_each(targets, outputs.logits)
    report: dict[str, Any] = {
        "test_n": len(test),
        "test_patients": len(set(patients)),
        "mean_auroc": mean_auroc(targets, outputs.logits),
        "mean_auroc_interval": bootstrap_interval(patients, lambda i: mean_auroc(targets[i], outputs.logits[i])),
        "auroc": dict(zip(LABELS, each.tolist(), strict=True)),
        "positives": dict(zip(LABELS, targets.sum(0).astype(int).tolist(), strict=True)),
        "false_rejections": int(rejected.sum()),
        "false_rejection_rate": float(rejected.mean()),
        "false_rejection_rate_interval": bootstrap_interval(patients, lambda i: float(rejected[i].mean())),
        "false_rejection_rate_by_group": _by_group(test, rejected),
        "attacks": {},
    }
    for name, row in _paper_attacks(run, gate, fit_options, films, device, options, workers):
        report["attacks"][name] = row
        run.report.write(report)  # an interrupted run keeps its finished results
    if options.aimed_films:
        victim = victim_of_run(run, network, gate, films, device)
        aim = replace(AIM, steps=options.aimed_steps)
        report["aimed"] = aimed_rows(run, victim, fit_options, films, device, options.aimed_films, aim)
        if options.called_films and victim.calls is not None:
            report["aimed"] += aimed_rows(
                run, victim, fit_options, films, device, options.called_films, names=(STEEPEST,), goals=OPPOSITE
            )
        report["aimed_steps"] = options.aimed_steps
        run.report.write(report)
    return report


def _paper_attacks(
    run: Run,
    gate: FittedGate,
    fit_options: FitOptions,
    films: list[Film],
    device: torch.device,
    measuring: MeasureOptions,
    workers: int,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each attack's name and its results, which the run stores as stages."""
    network, test = run.network().to(device), of_split(films, "test")
    attacked = some_of(test, measuring.attacked_films or len(test))
    # The identity holds no calls: after a new calibration of calls these attacks are not made again.
    identity = {
        "network": weights_sha256(network),
        "gate": fit_options.record(),
        "threshold": gate.threshold.value,
        "data": fingerprint(films),
        "films": len(attacked),
        "epsilon": measuring.epsilon,
        "steps": measuring.steps,
    }
    store = store_in(run, "attacked", identity)
    for name, options in paper_attacks(measuring.epsilon, measuring.steps).items():

        def compute(name: str = name, options: AttackOptions = options) -> Outcome:
            return _attacked(network, gate.gate, attacked, name, options, device, workers), {}

        yield f"{name} epsilon={measuring.epsilon:g}", store.stage(name, compute)[0]


def _attacked(
    network: ChestNetwork,
    gate: Gate,
    films: list[Film],
    name: str,
    options: AttackOptions,
    device: torch.device,
    workers: int,
) -> dict[str, Any]:
    logits_of = LogitsOnly(network)
    rejected: list[NDArray[np.bool_]] = []
    flipped: list[NDArray[np.bool_]] = []
    with tqdm(total=len(films), desc=f"{name} epsilon={options.epsilon:g}", unit="film") as progress:
        for batch, (images, _) in enumerate(in_order(films, batch_size=BATCH, workers=workers)):
            clean = as_posted(images).to(device)
            # Gradients in bfloat16 take half the time and keep nearly every sign. The judging below is in float32.
            with autocast(device):
                attacked = attack(logits_of, clean, options, seed=batch)
            posted = as_posted(attacked)
            with torch.inference_mode():
                before = network(clean).logits.argmax(1)
                outputs = network(posted)
            rejected.append(~gate.accepts(outputs.gate_features.cpu().numpy()))
            flipped.append((outputs.logits.argmax(1) != before).cpu().numpy())
            progress.update(len(images))
            progress.set_postfix(detected=f"{np.concatenate(rejected).mean():.1%}")
    caught, changed = np.concatenate(rejected), np.concatenate(flipped)
    return {
        **asdict(options),
        "n": len(caught),
        "detected": int(caught.sum()),
        "detection_rate": float(caught.mean()),
        "flip_rate": float(changed.mean()),
        "evasion_rate": float((changed & ~caught).mean()),
    }


def _by_group(films: list[Film], rejected: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[bool]] = {}
    for film, one in zip(films, rejected, strict=True):
        for group in film.groups:
            groups.setdefault(group, []).append(bool(one))
    return {
        group: {"n": len(ones), "false_rejection_rate": float(np.mean(ones))} for group, ones in sorted(groups.items())
    }
