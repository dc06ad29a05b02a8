"""Attackers who stop early or know the gate, sanity checks of their results, and attacks of independent libraries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ..attacks import (
    AttackResult,
    SearchOptions,
    Victim,
    Wanted,
    at_native_size,
    epsilon_curve,
    feature_constraint,
    joint,
    minimal,
    orthogonal,
    selective,
)
from ..attacks.adaptive import AwareAttack
from ..attacks.density import LogMixture
from ..attacks.goals import AT_POINT, OPPOSITE
from ..attacks.libraries import apgd, deepfool, square
from ..attacks.sanity import sanity_checks
from ..data.films import Film, fingerprint, of_split, patients_of, some_of
from ..detectors.measures import bootstrap_weights, share
from ..gate.fit import FitOptions
from ..run import Run, weights_sha256
from .observing import Images, load_images, to_images
from .presets import AIM, WHITE_BOX_EPSILON, Aim, Preset
from .store import Arrays, Outcome, Stages
from .subject import LoadedBundle

BATCH = 16
#: The attackers of a model card: one who does not know the gate, and one who does.
AIMED = ("minimal", "selective")
#: An attacker who pursues the goal alone, in few long steps. An attacker who must also pass the gate goes no further. So if the
#: steepest does not reach a goal, no other attacker passes. He is quick enough for many films.
STEEPEST = "steepest"
#: The steepest attacker's step as a share of the budget, his number of steps, and his number of starts.
STRIDE, STRIDES, STARTS = 1 / 4, 12, 2


def attackers(modes: Mapping[str, LogMixture]) -> dict[str, tuple[AwareAttack, bool]]:
    """Name -> attack, and whether it knows the gate. The feature constraint pulls toward `modes`."""
    return {
        "minimal": (minimal, False),
        STEEPEST: (minimal, False),
        "selective": (selective, True),
        "orthogonal": (orthogonal, True),
        "joint": (joint, True),
        "feature-constraint": (partial(feature_constraint, modes=modes), True),
    }


def goals_on(victim: Victim, calls: Sequence[Wanted] = OPPOSITE) -> list[Wanted]:
    """The goals hide and invent, and the goals on calls if the victim has points for them."""
    return [*AT_POINT, *(calls if victim.calls is not None else ())]


def attacker_rows(
    victim: Victim,
    device: torch.device,
    store: Stages,
    name: str,
    levels: Images | list[Images],
    patients: NDArray[np.generic],
    aim: Aim,
    seed: int,
    modes: Mapping[str, LogMixture],
    goals: Sequence[Wanted],
    *,
    native: bool = False,
) -> list[dict[str, Any]]:
    """One attacker with all goals and all budgets: a row for each goal and budget.

    An image that is done at one budget is done at every larger one (``epsilon_curve``). Each batch is a separate stage, so
    that hours of attack resume at the batch where they stopped.
    """
    attack, informed = attackers(modes)[name]
    victim = at_native_size(victim) if native else victim
    budgets = [_options(name, informed, epsilon, aim, seed) for epsilon in aim.budgets]
    rows = []
    for wanted in goals:
        goal = wanted.goal if wanted in AT_POINT else "-".join(wanted)
        title = f"{name}, {goal}" + (", native size" if native else "")
        stem = f"attacker-{'native-' if native else ''}{name}-{goal}"
        tallies: list[Arrays] = []
        with tqdm(total=len(levels), desc=title, unit="film") as progress:
            for number, images in enumerate(_batched(levels, device)):

                def compute(
                    images: torch.Tensor = images, wanted: Wanted = wanted, draw: tuple[int, int] = (seed, number)
                ) -> Outcome:
                    target = victim.choose(wanted.goal, images, wanted.finding_choice, draw)
                    return {}, _tally(epsilon_curve(attack, victim, images, target, budgets, informed=informed))

                tallies.append(store.stage(f"{stem}-{number:03d}", compute)[1])
                progress.update(len(images))
                progress.set_postfix(evaded_at_smallest=sum(int(tally["success"][0].sum()) for tally in tallies))
        together = {field: np.concatenate([tally[field] for tally in tallies], axis=1) for field in tallies[0]}
        side = int(levels[0].shape[-1])
        for index, options in enumerate(budgets):
            tally = {field: values[index] for field, values in together.items()}
            rows.append(_row(name, informed, wanted, options.epsilon, side, tally, patients, seed))
    return rows


def _options(name: str, informed: bool, epsilon: float, aim: Aim, seed: int) -> SearchOptions:
    if name == STEEPEST:
        return SearchOptions(epsilon, STRIDE * epsilon, STRIDES, STARTS, seed)
    make = SearchOptions.within if informed else SearchOptions.least
    restarts = aim.restarts if informed else 1
    return replace(make(epsilon, steps=aim.steps, restarts=restarts, seed=seed), weight_rounds=aim.weight_rounds)


def aimed_rows(
    run: Run,
    victim: Victim,
    gate: FitOptions,
    films: list[Film],
    device: torch.device,
    count: int,
    aim: Aim = AIM,
    seed: int = 0,
    names: Sequence[str] = AIMED,
    goals: Sequence[Wanted] = (*AT_POINT, *OPPOSITE),
) -> list[dict[str, Any]]:
    """Rows of attackers against a run with this gate, on `count` evenly spread test films, which are the same for every defence.

    Results for the same network, gate, films and effort are stored in `run` and not computed again. Results of goals on calls
    also depend on the calls, and exist only if the victim has calls.
    """
    identity = {
        "network": weights_sha256(victim.network),
        "gate": gate.record(),
        "data": fingerprint(films),
        "films": count,
        "aim": asdict(aim),
        "seed": seed,
    }
    store = store_in(run, "aimed", identity)
    chosen = some_of(of_split(films, "test"), count)
    _, arrays = store.stage("aimed-images", lambda: ({}, {"levels": load_images(chosen, "reading")}))
    patients = patients_of(chosen)
    tried = [(store, [one for one in goals if one in AT_POINT])]
    if victim.calls is not None:
        on_calls = [one for one in goals if one not in AT_POINT]
        tried.append((store_in(run, "aimed", {**identity, "calls": victim.calls.record()}), on_calls))
    return [
        row
        for kept, some in tried
        for name in names
        for row in attacker_rows(victim, device, kept, name, arrays["levels"], patients, aim, seed, {}, some)
    ]


def store_in(run: Run, kind: str, identity: dict[str, Any]) -> Stages:
    """Stages of one identity, stored in a run's folder that is named after the kind and the identity's digest."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Stages.open(run.stages(kind, digest), identity)


def sanity_stage(subject: LoadedBundle, levels: Images, preset: Preset, seed: int) -> Outcome:
    """Checks: more steps, restarts and epsilon never lower success; unbounded epsilon reaches all; gradients flow."""
    images = to_images(levels, subject.device)
    options = SearchOptions.within(1 / 255, steps=preset.aware_steps // 2, seed=seed)
    rows = []
    for name in ("selective", "orthogonal"):
        attack, _ = attackers({})[name]
        for goal, choice in goals_on(subject.victim):
            target = subject.victim.choose(goal, images, choice, seed)
            checks = sanity_checks(attack, subject.victim, images, target, options)
            rows += [
                {"attacker": f"{name}, {goal}", "check": check.name, "passed": check.passed, "detail": check.detail}
                for check in checks
            ]
    return rows, {}


def library_stage(
    subject: LoadedBundle, levels: Images, patients: NDArray[np.generic], preset: Preset, seed: int
) -> Outcome:
    """APGD, Square and DeepFool of an independent library, on the same goals."""
    images = to_images(levels, subject.device)
    victim = subject.victim
    most = preset.aware_steps  # under 20 or 50 only in small presets
    runs: dict[str, Callable[[Any], AttackResult]] = {
        "APGD": lambda target: apgd(victim, images, target, WHITE_BOX_EPSILON, steps=min(20, most), seed=seed),
        "Square": lambda target: square(
            victim, images, target, WHITE_BOX_EPSILON, queries=preset.square_queries, seed=seed
        ),
        "DeepFool": lambda target: deepfool(victim, images, target, steps=min(50, most), seed=seed),
    }
    rows = []
    for wanted in goals_on(victim):
        target = victim.choose(wanted.goal, images, wanted.finding_choice, seed)
        for name, run in tqdm(runs.items(), desc=f"library attacks, {wanted.goal}", unit="attack"):
            result = run(target)
            tally = {field: values[0] for field, values in _tally([result]).items()}
            row = _row(name, False, wanted, result.epsilon, 224, tally, patients, seed)
            unbounded = not np.isfinite(result.epsilon)
            rows.append({**row, "attack": name, "library": "ART", "epsilon": None if unbounded else result.epsilon})
    return rows, {}


def _batched(levels: Images | list[Images], device: torch.device) -> list[torch.Tensor]:
    if isinstance(levels, list):  # films of their own sizes, one at a time
        return [to_images(film[None], device) for film in levels]
    return [to_images(levels[start : start + BATCH], device) for start in range(0, len(levels), BATCH)]


def _tally(results: list[AttackResult]) -> Arrays:
    """Results of each budget and image: field -> ndarray, shape (budgets, N)."""
    return {
        field: np.stack([getattr(result, field).cpu().numpy() for result in results])
        for field in (
            *("eligible", "goal_reached", "success", "clean_accepted"),
            *("probability_change", "grey_change", "steps"),
        )
    }


def _row(
    name: str,
    informed: bool,
    wanted: Wanted,
    epsilon: float,
    size: int,
    tally: Arrays,
    patients: NDArray[np.generic],
    seed: int,
) -> dict[str, Any]:
    eligible = tally["eligible"]
    evaded = tally["success"][eligible]
    row: dict[str, Any] = {
        "attacker": name,
        "informed": informed,
        **wanted._asdict(),
        "epsilon": epsilon,
        "size": size,
        "films": len(eligible),
        "eligible": int(eligible.sum()),
        "goal_reached": int(tally["goal_reached"].sum()),
        "evaded": int(evaded.sum()),
        "evasion_rate": None,
        "clean_accepted": int(tally["clean_accepted"][eligible].sum()),
        "probability_change": None,
        "grey_change": None,
        "steps_mean": None,
    }
    if eligible.any():
        row["evasion_rate"] = vars(share(evaded, bootstrap_weights(patients[eligible], 1000, seed)))
        row["probability_change"] = float(np.abs(tally["probability_change"][eligible]).mean())
        row["grey_change"] = float(tally["grey_change"][eligible].mean())
        row["steps_mean"] = float(tally["steps"][eligible].mean())
    return row
