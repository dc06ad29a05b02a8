"""One defence measured: accuracy, false rejection, attackers without a goal, those who stop early, who know the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from app.pipeline.network import ChestNetwork, LogitsOnly
from offline.attacks import CallPoints, Victim, paper_attacks
from offline.attacks.libraries import LibraryAttack, unseat
from offline.calls.movement import FURTHEST
from offline.data.films import Film, Split, fingerprint, of_split, patients_of, some_of, targets_of
from offline.data.harmless import CHANGES
from offline.detectors import Observed
from offline.evaluation.adaptive import aimed_rows
from offline.evaluation.clean import harmless_stage, rate
from offline.evaluation.observing import Images, batches, load_images, observe, to_levels
from offline.evaluation.presets import AIM, Aim
from offline.evaluation.store import Outcome, Stages
from offline.evaluation.subject import victim_of_run
from offline.evaluation.uninformed import attack_all
from offline.gate.features import saved
from offline.gate.fit import FitOptions, FittedGate, gate_of
from offline.metrics import mean_auroc
from offline.run import Run, weights_sha256

from .bands import called, paired_loss
from .table import HELD_OUT

EPSILONS: Final = (1 / 255, 0.005, 0.02)
HARMLESS: Final = ("noise sd .005", "gamma .8", "gamma 1.25", "JPEG quality 75")


#: Films of each split. A threshold and points need so many held-out ones.
QUICK_FILMS: Final[dict[Split, int]] = {"train": 24, "val": 60, "test": 12}


@dataclass(frozen=True)
class Measuring:
    """How much is measured: films of the test split, evenly spread; steps of the attacks, and queries of Square.

    ``movement_films`` are the val films on which each logit is moved, as many as ``calibrate`` takes; ``furthest`` of these get
    all steps. With 0 films, calls are not measured.
    """

    attacked_films: int = 48
    aimed_films: int = 32
    attack_steps: int = 10
    apgd_steps: int = 20
    square_queries: int = 200
    aim: Aim = AIM
    seed: int = 0
    movement_films: int = 80
    furthest: int = FURTHEST

    def record(self) -> dict[str, Any]:
        """For the identity of what is kept: movements are kept elsewhere, under names of their own."""
        return {name: value for name, value in asdict(self).items() if name not in ("movement_films", "furthest")}


#: Settings of ``--quick``, which only tries that everything runs.
QUICK: Final = Measuring(
    attacked_films=2,
    aimed_films=2,
    attack_steps=2,
    apgd_steps=2,
    square_queries=5,
    aim=Aim(AIM.budgets, steps=3, restarts=1, weight_rounds=1),
    movement_films=1,
    furthest=0,
)


def fewer(films: list[Film]) -> list[Film]:
    """Some films of each split, evenly spread, for ``--quick``."""
    return [film for split, count in QUICK_FILMS.items() for film in some_of(of_split(films, split), count)]


def measure_point(
    name: str,
    network: ChestNetwork,
    run: Run,
    films: list[Film],
    gate_options: FitOptions,
    measuring: Measuring,
    device: torch.device,
    workers: int,
    trained: Mapping[Split, NDArray[np.floating]] | None = None,
) -> dict[str, Any]:
    """Fit the gate, attack, and count; stages are kept under ``run/NAME`` and not run again.

    Everything is chosen on train and val films, and measured on test films: the same films and seeds for every defence.

    Parameters
    ----------
    trained : mapping or None
        Logits of val and test films by the network before any defence: what is lost since is measured against it.
    """
    gate = gate_of(network, run, films, gate_options, device, workers)
    logits = {split: saved(run, split).logits for split in HELD_OUT}
    targets = {split: targets_of(of_split(films, split)) for split in HELD_OUT}
    victim = victim_of_run(run, network, gate, films, device)
    identity = {
        "network": weights_sha256(network),
        "gate": gate_options.record(),
        "data": fingerprint(films),
        "measuring": measuring.record(),
    }
    store = Stages.open(run.folder / name, identity)
    test = of_split(films, "test")
    patients = patients_of(test)
    changes = {change: CHANGES[change] for change in HARMLESS}
    more: dict[str, Any] = {}
    if trained is not None:
        more["trained"] = {split: mean_auroc(targets[split], trained[split]) for split in HELD_OUT}
        more["lost"] = {split: paired_loss(of_split(films, split), trained[split], logits[split]) for split in HELD_OUT}
    if measuring.movement_films:
        findings, more["calls"] = called(
            victim.network, run, films, logits, device, measuring.movement_films, measuring.furthest
        )
        victim = replace(victim, calls=CallPoints.of(findings).to(device))
    return {
        "auroc": {split: mean_auroc(targets[split], logits[split]) for split in HELD_OUT},
        **more,
        "clean": _clean(gate, run, patients),
        "harmless": store.stage("harmless", lambda: harmless_stage(victim, device, test, patients, changes))[0],
        "blind": _blind(victim, device, store, test, measuring),
        "aimed": aimed_rows(
            run, victim, gate_options, films, device, measuring.aimed_films, measuring.aim, measuring.seed
        ),
        "identity": identity,
        "seconds": sum(store.seconds().values()),
    }


def _clean(gate: FittedGate, run: Run, patients: np.ndarray[Any, Any]) -> dict[str, Any]:
    rejected = ~gate.gate.accepts(saved(run, "test").gate_features)
    return {"films": len(rejected), "rejected": int(rejected.sum()), "false_rejection_rate": rate(rejected, patients)}


def _blind(
    victim: Victim, device: torch.device, store: Stages, test: list[Film], measuring: Measuring
) -> list[dict[str, Any]]:
    """Attackers without a goal who do not know the gate: ``stopped`` are rejected, or have the top finding that they had."""
    chosen = some_of(test, measuring.attacked_films)
    _, arrays = store.stage("images", lambda: ({}, {"levels": load_images(chosen, "reading")}))
    levels = arrays["levels"]
    clean = observe(victim.network, levels, device, "clean films")
    logits = LogitsOnly(victim.network)
    rows = []
    for epsilon in EPSILONS:
        makers: dict[str, Callable[[str], Images]] = {
            **{
                name: partial(attack_all, logits, levels, device, options=options)
                for name, options in paper_attacks(epsilon, measuring.attack_steps).items()
            },
            "APGD": partial(_unseated, "APGD", logits, levels, device, epsilon, measuring.apgd_steps, measuring.seed),
            "Square": partial(
                _unseated, "Square", logits, levels, device, epsilon, measuring.square_queries, measuring.seed
            ),
        }
        for attack, make in makers.items():
            title = f"{attack} {epsilon:.4f}"

            def compute(title: str = title, make: Callable[[str], Images] = make) -> Outcome:
                seen = observe(victim.network, make(title), device, f"features of {title}")
                return {}, seen.arrays()

            seen = Observed.stored(store.stage(title.replace(" ", "-"), compute)[1])
            rejected = ~victim.gate.accepts(seen.gate_features)
            changed = seen.top_finding != clean.top_finding
            rows.append(
                {
                    "attack": attack,
                    "epsilon": epsilon,
                    "films": len(levels),
                    "rejected": int(rejected.sum()),
                    "changed": int(changed.sum()),
                    "stopped": int((rejected | ~changed).sum()),
                }
            )
    return rows


def _unseated(
    name: LibraryAttack,
    logits: LogitsOnly,
    levels: Images,
    device: torch.device,
    epsilon: float,
    effort: int,
    seed: int,
    title: str,
) -> Images:
    """APGD or Square on all films, in float32: the library takes no bfloat16."""
    found = [
        to_levels(unseat(name, logits, images, epsilon, effort, seed + batch))
        for batch, images in enumerate(batches(levels, device, title))
    ]
    return np.concatenate(found)
