"""For the model card: a fitted run on its test films, clean and attacked as in the paper."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
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
from ..data.films import Film, fingerprint, of_split, targets_of
from ..data.loading import in_order
from ..evaluation.adaptive import STEEPEST, aimed_rows, store_in
from ..evaluation.observing import evenly
from ..evaluation.presets import AIM
from ..evaluation.store import Outcome
from ..evaluation.subject import victim_of_run
from ..gate.features import saved, weights_sha256, write_json
from ..gate.fit import load_gate, load_network
from ..metrics import auroc_of_each, bootstrap_interval, mean_auroc
from ..training.optimisation import autocast

REPORT_RECORD = "report.json"
#: On which attackers with a goal are tried: each costs a hundred passes and more.
AIMED_FILMS = 32
#: On which the steepest attacker tries to turn calls; he costs some fifty passes.
CALLED_FILMS = 64
BATCH = 10


def measure(
    run: Path,
    films: list[Film],
    device: torch.device,
    *,
    epsilon: float = 0.02,
    steps: int = 10,
    attacked_films: int = 0,
    aimed_films: int = AIMED_FILMS,
    called_films: int = CALLED_FILMS,
    aimed_steps: int = AIM.steps,
    workers: int = 2,
) -> dict[str, Any]:
    """Measure a fitted run on its test films and write ``report.json`` into `run`.

    The paper's attacks are tried on `attacked_films` of them, evenly spread (0: on all).

    Clean and attacked images alike are rounded to 8 bits at 224x224 before they are judged, as if posted.
    The threshold is the run's own: nothing is chosen on the test films.

    Returns
    -------
    dict
        AUROC of each finding and their mean, false-rejection rate overall and by group, and for each
        attack detection_rate, evasion_rate and flip_rate, with counts and 95 % bootstrap intervals over patients; and
        ``aimed``: what attackers with a goal come to on `aimed_films` of the films (0: none) in `aimed_steps` steps, see
        ``evaluation.informed``. Goals on calls are among theirs where the run's findings are called, and then the steepest
        attacker tries to turn calls on `called_films` (0: none).
    """
    test = of_split(films, "test")
    gate, fit_options = load_gate(run)
    network = load_network(run).to(device)
    outputs = saved(run, "test")
    targets = targets_of(test)
    patients = np.array([film.patient for film in test])
    # AUROC and false rejection are those of the films as they are sent by a hospital, at full size.
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
    attacked = [test[index] for index in evenly(len(test), attacked_films or len(test))]
    # Of the same network, gate and films they are not made again: calls may have been calibrated anew since.
    identity = {
        "network": weights_sha256(network),
        "gate": fit_options.record(),
        "threshold": gate.threshold.value,
        "data": fingerprint(films),
        "films": len(attacked),
        "epsilon": epsilon,
        "steps": steps,
    }
    store = store_in(run, "attacked", identity)
    for name, options in paper_attacks(epsilon, steps).items():

        def compute(name: str = name, options: AttackOptions = options) -> Outcome:
            return _attacked(network, gate.gate, attacked, name, options, device, workers), {}

        report["attacks"][f"{name} epsilon={epsilon:g}"] = store.stage(name, compute)[0]
        write_json(run / REPORT_RECORD, report)  # a long run cut short keeps what it has
    if aimed_films:
        victim = victim_of_run(run, network, gate, films, device)
        aim = replace(AIM, steps=aimed_steps)
        report["aimed"] = aimed_rows(run, victim, fit_options, films, device, aimed_films, aim)
        if called_films and victim.calls is not None:
            report["aimed"] += aimed_rows(
                run, victim, fit_options, films, device, called_films, names=(STEEPEST,), goals=OPPOSITE
            )
        report["aimed_steps"] = aimed_steps
        write_json(run / REPORT_RECORD, report)
    return report


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
            # Gradients in bfloat16 take half the time and keep nearly every sign; what is judged below is float32.
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
        age = (
            "unknown"
            if film.age < 0
            else "under 40"
            if film.age < 40
            else "40 to 59"
            if film.age < 60
            else "60 and over"
        )
        for group in (f"view {film.view}", f"sex {film.sex}", f"age {age}"):
            groups.setdefault(group, []).append(bool(one))
    return {
        group: {"n": len(ones), "false_rejection_rate": float(np.mean(ones))} for group, ones in sorted(groups.items())
    }
