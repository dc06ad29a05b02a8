"""Attacks on the served bundle, on the shared test films: when the service notices, and what was won by then."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import torch
from scipy.special import expit

from app.access import add_key
from app.pipeline import Bundle, Screener
from app.pipeline.backends.torch_cpu import TorchCpu
from benchmarks.record import start
from offline.attacks import Goal, choose_target

from .attackers import Oracle, Refused, Spent, Won, art_square, hop_skip_jump, square
from .films import FilmSet, Image

ROOT: Final = Path(__file__).resolve().parents[2]
SEED: Final = 1
AT_ONCE: Final = 4  # attackers


@dataclass(frozen=True)
class Task:
    """A film that the gate lets through, and what is to become of one of its findings."""

    image: Image
    goal: Goal
    finding: int
    point: float
    other: Image  # a film on the wanted side


def tasks(test: FilmSet, bundle: Bundle, count: int) -> dict[Goal, list[Task]]:
    """Of a quarter of the test films, evenly."""
    images = test.images[::4]
    screener = Screener(bundle, TorchCpu(bundle.network))
    tensor = torch.from_numpy(images)[:, None]
    _, gate_features, logits = (
        np.concatenate(each) for each in zip(*map(screener.outputs, tensor.split(8)), strict=True)
    )
    accepted = bundle.gate.accepts(gate_features)
    log_odds = torch.from_numpy(bundle.calls.log_odds(logits))
    points = torch.tensor([expit(finding.youden_log_odds) for finding in bundle.manifest.findings], dtype=torch.float64)
    probabilities = torch.sigmoid(log_odds).numpy()
    found: dict[Goal, list[Task]] = {}
    goals: tuple[Goal, ...] = ("hide", "invent")
    for goal in goals:
        target = choose_target(goal, log_odds, points)
        made = []
        for number in np.flatnonzero(accepted & target.eligible.numpy()):
            finding, point = int(target.finding[number]), float(target.point[number])
            there = (probabilities[:, finding] >= point) != (goal == "hide")
            others = np.flatnonzero(there & accepted)
            if len(others):
                made.append(Task(images[number], goal, finding, point, images[others[0]]))
        places = np.linspace(0, len(made) - 1, count).astype(int)
        found[goal] = [made[place] for place in places]
    return found


class AttackedService:
    """The service with a file of callers, to which each attack adds its own."""

    def __init__(self, port: int, keys: Path) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._keys = keys
        self._callers = 0

    def oracle(self, task: Task, budget: int, callers: int = 1, *, stop_when_won: bool = True) -> Oracle:
        """For an attacker whom the service does not know."""
        keys = [add_key(self._keys, f"attacker-{self._callers + number}", ["score"]) for number in range(callers)]
        self._callers += callers
        hide = task.goal == "hide"
        return Oracle(self.client, keys, task.finding, task.point, hide, budget, stop_when_won)


@contextmanager
def serving(bundle: Path, mode: str) -> Iterator[AttackedService]:
    """The served bundle, with ``CXR_QUERY_SEQUENCES`` as named and all else by default."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name)
        keys = folder / "callers.json"
        add_key(keys, "nobody", ["score"])
        settings = {"CXR_KEYS_FILE": str(keys), "CXR_RECORD_URL": "sqlite://", "CXR_QUERY_SEQUENCES": mode}
        arm = start(ROOT, bundle, folder, "service", **settings)
        with arm.server:
            service = AttackedService(arm.port, keys)
            try:
                yield service
            finally:
                service.client.close()


Attack = Callable[[Oracle, Task, int], None]


def _square(epsilon: float) -> Attack:
    return lambda oracle, task, seed: square(oracle, task.image, epsilon, np.random.default_rng(seed))


def _art_square(epsilon: float) -> Attack:
    return lambda oracle, task, seed: art_square(oracle, task.image, epsilon, seed)


def _hop_skip_jump(oracle: Oracle, task: Task, seed: int) -> None:
    hop_skip_jump(oracle, task.image, task.other, seed)


def run(
    name: str, attack: Attack, service: AttackedService, chosen: list[Task], budget: int, callers: int = 1
) -> dict[str, Any]:
    """One attack on each film, some films at once, as so many attackers would."""
    oracles = [service.oracle(task, budget, callers, stop_when_won=attack is not _hop_skip_jump) for task in chosen]

    def end(number: int) -> str:
        try:
            attack(oracles[number], chosen[number], SEED + number)
        except (Refused, Won, Spent) as ended:
            return type(ended).__name__
        return "GaveUp"

    # ART draws from numpy's global generator, so its attacks take turns.
    with ThreadPoolExecutor(1 if "ART" in name else AT_ONCE) as pool:
        ends = list(pool.map(end, range(len(chosen))))
    refused = [oracle.distinct + 1 for oracle, how in zip(oracles, ends, strict=True) if how == "Refused"]
    won = [oracle.distinct for oracle, how in zip(oracles, ends, strict=True) if how == "Won"]
    return {
        "attack": name,
        "goal": chosen[0].goal,
        "callers": callers,
        "budget": budget,
        "films": len(chosen),
        "refused": len(refused),
        "refused_at_median": statistics.median(refused) if refused else None,
        "refused_at_most": max(refused, default=None),
        "won": len(won),
        "won_at_median": statistics.median(won) if won else None,
    }


def attacks(test: FilmSet, bundle: Bundle, folder: Path, *, films: int, budget: int) -> Iterator[dict[str, Any]]:
    """Against a service that refuses; the rows as they are done."""
    chosen = tasks(test, bundle, films)
    with serving(folder, "refuse") as service:
        hide = chosen["hide"]  # the harder one: an invented finding is often a query or two away
        yield from _squares(service, chosen, budget)
        yield run("Square .02 (ART)", _art_square(0.02), service, hide, budget)
        yield run("HopSkipJump (ART)", _hop_skip_jump, service, hide, budget)
        for callers in (2, 4):
            yield run("Square .02", _square(0.02), service, hide, budget, callers)


def undefended(test: FilmSet, bundle: Bundle, folder: Path, *, films: int, budget: int) -> Iterator[dict[str, Any]]:
    """The same attackers before a service that does not look."""
    chosen = tasks(test, bundle, films)
    with serving(folder, "off") as service:
        yield from _squares(service, chosen, budget)


def _squares(service: AttackedService, chosen: dict[Goal, list[Task]], budget: int) -> Iterator[dict[str, Any]]:
    for name, epsilon in {".02": 0.02, ".05": 0.05, "2/255": 2 / 255}.items():
        for each in chosen.values():
            yield run(f"Square {name}", _square(epsilon), service, each, budget)
