"""The measurements on each system, and their order: three visits to each, in turns, each with a fresh server."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PlannedLoad:
    """One load.

    Attributes
    ----------
    name : str
    seconds : float
        Duration of the load. Requests under way at its end are waited for.
    mix : str
    clients : int
        Clients of a closed loop; 0 for an open one.
    share : float
        Arrival rate of an open loop, as a share of the system's own peak so far.
    hostile : bool
    """

    name: str
    seconds: float
    mix: str = "png"
    clients: int = 0
    share: float = 0.0
    hostile: bool = False


HEADLINE = PlannedLoad("closed 8", 7, clients=8)
#: Each visit has the headline, for a median and a spread. The peak is known when the open loops come.
VISITS: tuple[tuple[PlannedLoad, ...], ...] = (
    (
        HEADLINE,
        PlannedLoad("closed 1", 5, clients=1),
        PlannedLoad("closed 32", 6, clients=32),
        PlannedLoad("closed 64", 6, clients=64),
    ),
    (
        HEADLINE,
        PlannedLoad("open 50 %", 7, share=0.5),
        PlannedLoad("open 80 %", 7, share=0.8),
        PlannedLoad("jpeg", 5, "jpeg", clients=8),
    ),
    (
        HEADLINE,
        PlannedLoad("open 120 %", 7, share=1.2),
        PlannedLoad("dicom", 5, "dicom", clients=8),
        PlannedLoad("j2k", 6, "j2k", clients=8),
        PlannedLoad("hostile", 7, clients=8, hostile=True),
    ),
)
#: Loads for ours alone, with a deadline that an overload reaches during the load.
OVERLOAD_DEADLINE_SECONDS = 2
OVERLOAD = (PlannedLoad("overload 120 %", 15, share=1.2), PlannedLoad("overload 200 %", 8, share=2.0))
CELLS = tuple(dict.fromkeys(cell for visit in VISITS for cell in visit))

WARM_UP = PlannedLoad("warm-up", 2.5, clients=8)
START_SECONDS = 14.0  # rough time of a start and an end, to estimate the time left
QUICK_CELLS, QUICK_SECONDS = ("closed 1", "closed 8", "closed 32", "open 80 %", "hostile"), 2.0


def visits(only: list[str], quick: bool) -> list[tuple[PlannedLoad, ...]]:
    """The cells of each visit; quick is one visit of a few short loads."""
    if quick:
        names = only or QUICK_CELLS
        return [tuple(replace(cell, seconds=QUICK_SECONDS) for cell in CELLS if cell.name in names)]
    chosen = [tuple(cell for cell in visit if not only or cell.name in only) for visit in VISITS]
    return [visit for visit in chosen if visit]
