"""Attacked films in frames: does a frame, or the choice of one, open a way round the gate?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from app.pipeline import LABELS, Screener, picture_tensor
from app.pipeline.network import LogitsOnly
from offline.attacks import SearchOptions, Victim, as_posted, attack, minimal, paper_attacks, selective
from offline.attacks.adaptive import AwareAttack
from offline.attacks.goals import Goal

from .frames import Film, barred, bordered, collimated
from .posted import answers, counted, png

EPSILON: Final = 0.02  # the paper's
STEPS: Final = 10
#: Of attackers with a goal, for each of the two goals.
AIMED_FILMS: Final = 16
AIMED_STEPS: Final = 25
AIMED_EPSILONS: Final = (2 / 255, 0.02)
#: Frames that an attacker tries around each of his films.
CHOICES: Final = 12


def paper_rows(screeners: Mapping[str, Screener], films: list[Film]) -> Iterator[dict[str, Any]]:
    """FGSM, BIM, PGD and MIM on the exposed field, posted as it is and in frames."""
    clean = torch.cat([as_posted(picture_tensor(film)) for film in films])
    for bundle, screener in screeners.items():
        network = LogitsOnly(screener.bundle.network)
        for name, options in paper_attacks(EPSILON, STEPS).items():
            batches = tqdm(clean.split(8), desc=f"{bundle}: {name}", unit="batch")
            attacked = torch.cat([as_posted(attack(network, images, options)) for images in batches])
            for frame, framed in _framed(_pictures(attacked)).items():
                found = answers(screener, map(png, framed))
                yield {"attack": name, "epsilon": EPSILON, "bundle": bundle, "frame": frame, "outcomes": counted(found)}


def _framed(films: list[Film]) -> dict[str, list[Film]]:
    return {
        "none": films,
        "border, black": [bordered(film, 5, 0.0) for film in films],
        "border, white": [bordered(film, 5, 1.0) for film in films],
        "collimated by 4 %": [collimated(film, 0.04) for film in films],
    }


def aimed_rows(screeners: Mapping[str, Screener], films: list[Film]) -> Iterator[dict[str, Any]]:
    """Attackers who stop early or know the gate: how many pass as they are, and how many with the best of some frames."""
    clean = torch.cat([as_posted(picture_tensor(film)) for film in films[:AIMED_FILMS]])
    attackers: dict[str, tuple[AwareAttack, bool]] = {"minimal": (minimal, False), "selective": (selective, True)}
    goals: tuple[Goal, ...] = ("hide", "invent")
    for bundle, screener in screeners.items():
        manifest = screener.bundle.manifest
        points = torch.tensor([finding.youden_logit for finding in manifest.findings], dtype=torch.float64).sigmoid()
        victim = Victim.of(screener.bundle.network, screener.bundle.gate, points)
        for attacker, (attacking, informed) in attackers.items():
            for goal in goals:
                target = victim.choose(goal, clean)
                for epsilon in AIMED_EPSILONS:
                    make = SearchOptions.within if informed else SearchOptions.least
                    result = attacking(victim, clean, target, make(epsilon, steps=AIMED_STEPS, restarts=1, seed=0))
                    tried = [index for index in range(len(clean)) if bool(result.eligible[index])]
                    pictures = _pictures(result.images)

                    chosen_findings = [manifest.findings[int(target.finding[index])] for index in tried]
                    aim = [(finding.name, expit(finding.youden_log_odds)) for finding in chosen_findings]
                    chosen = [pictures[index] for index in tried]
                    alone = _reached(screener, chosen, aim, goal)
                    best = alone.copy()
                    for choice in range(CHOICES):
                        framed = [chosen_frame(film, choice, index) for index, film in enumerate(chosen)]
                        best |= _reached(screener, framed, aim, goal)
                    yield {
                        "attacker": attacker,
                        "goal": goal,
                        "epsilon": epsilon,
                        "bundle": bundle,
                        "films": len(tried),
                        "passed": int(alone.sum()),
                        "passed_in_some_frame": int(best.sum()),
                        "frames": CHOICES,
                    }


def _reached(screener: Screener, films: list[Film], aim: list[tuple[str, float]], goal: Goal) -> NDArray[np.bool_]:
    """Which films are accepted with the finding on the side of its point that the goal asks for."""
    found = answers(screener, map(png, films))
    return np.array(
        [
            answer.probabilities is not None
            and (answer.probabilities[LABELS.index(name)] >= point) == (goal == "invent")
            for (name, point), answer in zip(aim, found, strict=True)
        ],
        dtype=bool,
    )


def chosen_frame(film: Film, choice: int, index: int) -> Film:
    """A frame of random kind, width, grey and grain, as an attacker tries them."""
    generator = np.random.default_rng((choice, index))
    grey, width = float(generator.choice([0.0, 1.0, generator.uniform()])), int(generator.integers(1, 30))
    kind = choice % 4
    if kind == 0:
        return bordered(film, width, grey)
    if kind == 1:
        return barred(film, width / 100, grey, int(generator.integers(2)))
    if kind == 2:
        degrees = float(generator.uniform(-5, 5))
        return collimated(film, generator.uniform(0.01, 0.08), grey=grey, grain=0.01, degrees=degrees)
    grain = generator.normal(0, generator.uniform(0.005, 0.05), np.add(film.shape, 2 * width)).astype(np.float32)
    framed = np.clip(bordered(film, width, grey) + grain, 0, 1)
    framed[width:-width, width:-width] = film
    return framed


def _pictures(images: Tensor) -> list[Film]:
    return [image[0].detach().numpy() for image in images]
