"""Presets: how many films, steps and goals the experiment has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ..attacks.goals import EVERY_CALL, OPPOSITE, Wanted

#: Epsilons in pixel units of [0,1], rising.
BUDGETS: Final = (1 / 255, 2 / 255, 4 / 255, 0.02, 8 / 255)
WHITE_BOX_EPSILON: Final = 0.02  # the paper's
BLACK_BOX_EPSILON: Final = 0.05  # the paper's


@dataclass(frozen=True)
class Aim:
    """How hard attackers with a goal try.

    Attributes
    ----------
    budgets : tuple of float
        Epsilons, rising, in pixel units of [0,1].
    steps, restarts, weight_rounds : int
        As in ``SearchOptions``. An attacker who does not know the gate has one start.
    """

    budgets: tuple[float, ...]
    steps: int
    restarts: int
    weight_rounds: int


#: The effort for a model card, and for the frontier.
AIM: Final = Aim((1 / 255, 2 / 255), steps=50, restarts=1, weight_rounds=1)


@dataclass(frozen=True)
class Preset:
    """Numbers of films and steps. Films are evenly spread test films, except ``supervised_films`` (training films).

    Attackers who know the gate cost some hundred passes for each film. ``budgets`` are the epsilons of attackers with a goal.
    ``calls`` are the goals on calls of the attackers in ``adaptive.AIMED``; other attackers have the goals ``OPPOSITE``.
    """

    name: str
    films: int
    attack_steps: int
    minimal_films: int
    gradient_films: int  # selective, orthogonal and joint, which are done in a few steps
    transfer_films: int  # for each substitute
    constraint_films: int  # feature constraint: some fifty steps a film
    native_films: int
    sanity_films: int
    library_films: int
    aware_steps: int
    restarts: int
    weight_rounds: int
    square_queries: int
    supervised_films: int
    budgets: tuple[float, ...] = BUDGETS
    calls: tuple[Wanted, ...] = EVERY_CALL
    harmless: bool = True

    @property
    def aim(self) -> Aim:
        """The effort of the attackers who stop early or know the gate."""
        return Aim(self.budgets, self.aware_steps, self.restarts, self.weight_rounds)


_STANDARD: Final = Preset(
    name="standard",
    films=260,
    attack_steps=10,
    minimal_films=260,
    gradient_films=130,
    transfer_films=64,
    constraint_films=24,
    native_films=8,
    sanity_films=4,
    library_films=6,
    aware_steps=100,
    restarts=2,
    weight_rounds=4,
    square_queries=100,
    supervised_films=200,
)

PRESETS: Final[dict[str, Preset]] = {
    "quick": Preset(
        name="quick",
        films=24,
        attack_steps=5,
        minimal_films=8,
        gradient_films=4,
        transfer_films=8,
        constraint_films=2,
        native_films=0,
        sanity_films=0,
        library_films=0,
        aware_steps=10,
        restarts=1,
        weight_rounds=2,
        square_queries=50,
        supervised_films=24,
        budgets=(1 / 255, 0.02),
        calls=OPPOSITE,
        harmless=False,
    ),
    "standard": _STANDARD,
    # On a hardened network each attacker with a goal uses all of its steps. "short" takes an hour on two cores for hide and
    # invent, "standard" a night. The goals on calls triple the attempts.
    "short": replace(
        _STANDARD,
        name="short",
        films=130,
        minimal_films=12,
        gradient_films=8,
        transfer_films=48,
        constraint_films=1,
        native_films=1,
        sanity_films=1,
        library_films=3,
        aware_steps=50,
        restarts=1,
        weight_rounds=1,
        supervised_films=64,
        budgets=(1 / 255, 2 / 255, 0.02),
    ),
    "paper": Preset(
        name="paper",
        films=1000,
        attack_steps=40,
        minimal_films=1000,
        gradient_films=1000,
        transfer_films=1000,
        constraint_films=1000,
        native_films=100,
        sanity_films=42,
        library_films=200,
        aware_steps=100,
        restarts=5,
        weight_rounds=6,
        square_queries=5000,
        supervised_films=1000,
    ),
}
