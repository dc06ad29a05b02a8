"""How much of the experiment is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: In pixel units of [0,1], rising.
BUDGETS: Final = (1 / 255, 2 / 255, 4 / 255, 0.02, 8 / 255)
WHITE_BOX_EPSILON: Final = 0.02  # the paper's
BLACK_BOX_EPSILON: Final = 0.05  # the paper's


@dataclass(frozen=True)
class Preset:
    """Counts of films are of the test films, evenly spread; attackers who know the gate cost some hundred passes a film.

    ``budgets`` are the epsilons of the goal-directed attackers.
    """

    name: str
    films: int
    attack_steps: int
    minimal_films: int
    gradient_films: int  # selective and orthogonal
    weighted_films: int  # joint and feature constraint, which search a weight
    native_films: int
    sanity_films: int
    library_films: int
    aware_steps: int
    restarts: int
    weight_rounds: int
    square_queries: int
    supervised_films: int
    budgets: tuple[float, ...] = BUDGETS
    harmless: bool = True


PRESETS: Final[dict[str, Preset]] = {
    "quick": Preset("quick", 24, 5, 8, 4, 2, 0, 0, 0, 10, 1, 2, 50, 24, (1 / 255, 0.02), harmless=False),
    "standard": Preset("standard", 260, 10, 260, 64, 24, 8, 3, 6, 100, 2, 4, 100, 200),
    "paper": Preset("paper", 1000, 40, 1000, 1000, 1000, 100, 32, 200, 100, 5, 6, 5000, 1000),
}
