"""Attackers who have the service's answers alone, over HTTP: until they are refused, or until they have won or given up."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from app.pipeline import LABELS
from offline.attacks.libraries import numpy_seed

from . import films as make
from .films import Image

#: What the gate's rejection is worth to an attacker who counts logits past the goal: worse than any film.
REJECTED: Final = -100.0


class Refused(Exception):
    """The service has noticed."""


class Spent(Exception):
    """No queries are left."""


class Won(Exception):
    """The finding is on the other side of its operating point, and the gate lets the film through."""


@dataclass
class Oracle:
    """The service's answers on one film and one finding, as the margin of logits past the goal; positive is reached.

    Attributes
    ----------
    keys : sequence of str
        Of the callers among whom the queries go round.
    hide : bool
        Whether the finding is to go under its operating point, or over it.
    queries : int
        Posts so far, of which `distinct` were of films that were not posted before.
    """

    client: httpx.Client
    keys: list[str]
    finding: int
    point: float
    hide: bool
    budget: int
    stop_when_won: bool = True
    queries: int = 0
    seen: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._next: Iterator[str] = cycle(self.keys)

    @property
    def distinct(self) -> int:
        """Films that were posted."""
        return len(self.seen)

    def margin(self, image: NDArray[np.floating]) -> float:
        """Post an image of shape (224, 224).

        Raises
        ------
        Refused, Spent, Won
        """
        buffer = io.BytesIO()
        Pillow.fromarray((make.levels(image) * 255).round().astype(np.uint8)).save(buffer, "PNG", compress_level=1)
        film = buffer.getvalue()
        if self.distinct >= self.budget:
            raise Spent
        self.queries += 1
        headers = {"Content-Type": "image/png", "Authorization": f"Bearer {next(self._next)}"}
        answer = self.client.post("/v1/score", content=film, headers=headers)
        if answer.status_code == 403:
            raise Refused
        margin = REJECTED
        if answer.status_code == 200:
            past = _logit(answer.json()["probabilities"][LABELS[self.finding]]) - _logit(self.point)
            margin = -past if self.hide else past
        first = not self.seen
        self.seen[film] = margin
        if self.stop_when_won and not first and margin > 0:
            raise Won
        return margin


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def square(oracle: Oracle, image: Image, epsilon: float, draw: np.random.Generator) -> None:
    """Square attack in the maximum norm (Andriushchenko et al., ECCV 2020, algorithms 1 and 2), on one film."""
    oracle.margin(image)
    best_image = make.stripes(image, epsilon, draw)
    best = oracle.margin(best_image)
    for query in range(2, 10**9):
        side = max(1, round(math.sqrt(_share(query, oracle.budget)) * make.SIDE))
        row, column = draw.integers(0, make.SIDE - side + 1, 2)
        patch = (slice(row, row + side), slice(column, column + side))
        moved = best_image.copy()
        moved[patch] = image[patch] + draw.choice([-epsilon, epsilon])
        moved = make.levels(moved)
        if np.array_equal(moved, best_image):
            continue
        if (margin := oracle.margin(moved)) > best:
            best, best_image = margin, moved


def _share(query: int, budget: int) -> float:
    """Of the film, that a square covers: .8 at first, halved at the paper's times, which are for 10,000 queries."""
    times = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    return 0.8 / 2 ** sum(query * 10_000 / max(budget, 1) > at for at in times)


def art_square(oracle: Oracle, image: Image, epsilon: float, seed: int) -> None:
    """ART's Square, of the same budget."""
    from art.attacks.evasion import SquareAttack

    attack = SquareAttack(_black_box(oracle), eps=epsilon, max_iter=oracle.budget, batch_size=1, verbose=False)
    with numpy_seed(seed):
        attack.generate(image[None, None], y=np.array([0]))


def hop_skip_jump(oracle: Oracle, image: Image, other: Image, seed: int) -> None:
    """ART's HopSkipJump (Chen et al., S&P 2020): decisions alone, from a film on the other side of the operating point."""
    from art.attacks.evasion import HopSkipJump

    attack = HopSkipJump(_black_box(oracle), norm=np.inf, max_iter=50, max_eval=1000, init_eval=20, verbose=False)
    with numpy_seed(seed):
        attack.generate(image[None, None], y=np.array([[1, 0]]), x_adv_init=other[None, None])


def _black_box(oracle: Oracle) -> Any:
    from art.estimators.classification.blackbox import BlackBoxClassifierNeuralNetwork

    def predict(images: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.array([[-oracle.margin(image[0]), 0.0] for image in images], np.float32)

    return BlackBoxClassifierNeuralNetwork(
        predict, (1, make.SIDE, make.SIDE), 2, channels_first=True, clip_values=(0.0, 1.0)
    )
