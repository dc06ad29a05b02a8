"""The phases of the day, what is posted in each, and which alerts each must raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: A real second is a minute of the day.
FACTOR: Final = 60


@dataclass(frozen=True)
class Phase:
    """A part of the day.

    Attributes
    ----------
    hours : float
        How long it lasts, in hours of the day.
    films : Mapping of str to float
        Kind of film -> how many come in a minute, on average: the times between them are exponential.
    expected : frozenset of str
        Alerts that must begin in it; no other may.
    """

    name: str
    hours: float
    films: Mapping[str, float]
    expected: frozenset[str] = frozenset()


#: Normal films before, between and after, long enough for windows of six hours to forget: a drift ends late.
DAY: Final = (
    Phase("night", 0.5, {"clean": 2}),
    Phase("morning", 1, {"clean": 4}),
    Phase("new scanner on trial", 2, {"scanner": 4}, frozenset({"CxrScoreDrift"})),
    Phase("the old scanner again", 6.5, {"clean": 4}),
    Phase("attack burst", 1, {"clean": 4, "attacked": 1}, frozenset({"CxrAttackBurst"})),
    Phase("after the attack", 1, {"clean": 4}),
    Phase("broken sender", 1, {"clean": 4, "broken": 1.2}, frozenset({"CxrBrokenSender"})),
    Phase("mended", 0.5, {"clean": 4}),
    Phase("misrouted films", 1, {"clean": 4, "misrouted": 1}, frozenset({"CxrUnsuitableFilms"})),
    Phase("evening", 0.5, {"clean": 4}),
)
#: What a night needs of the day before it: the new scanner's films.
EVENING: Final = (Phase("new scanner on trial", 1, {"scanner": 7}, frozenset({"CxrScoreDrift"})),)
#: As long as the review and the recalibration take.
NIGHT: Final = Phase("review and recalibration", 24, {"clean": 1})
#: The base still answers, so that it reports the scanner again.
SHADOW: Final = Phase("shadow, on the new scanner's films", 0.5, {"scanner": 4}, frozenset({"CxrScoreDrift"}))
PROMOTED: Final = Phase("promoted, the new scanner for good", 0.5, {"fresh": 4}, frozenset({"CxrBundleChanged"}))
ATTACKED_AGAIN: Final = Phase(
    "attack burst on the new bundle", 0.5, {"fresh": 4, "attacked-fresh": 1}, frozenset({"CxrAttackBurst"})
)
