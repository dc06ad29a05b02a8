"""The defences that are compared: how the network and the gate of each are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from offline.gate.fit import FitOptions
from offline.training.harden import HardenOptions
from offline.training.refit_head import RIDGE


@dataclass(frozen=True)
class Recipe:
    """A defence.

    Attributes
    ----------
    title : str
    hardening : tuple of HardenOptions
        Successive hardenings of the starting network; none: it is not changed.
    gate : FitOptions
    share : float
        Share of the last hardened network, averaged with the network before it; over 1 extrapolates beyond it.
    relearned : float
        Ridge with which the last layer is then fitted again to the network before; 0: it stays.
    watched : bool
        The gate looks through the first block of the network that was not hardened.
    """

    title: str
    hardening: tuple[HardenOptions, ...]
    gate: FitOptions
    share: float = 1.0
    relearned: float = 0.0
    watched: bool = False


_PAPER: Final = FitOptions()
_TOLERANT: Final = FitOptions(variants=4)
#: How a gate that looks through a watch is fitted.
THROUGH_WATCH: Final = FitOptions(ridge=0.002, variants=2, variant_weight=0.1, scaled=True)
_HARDENED: Final = (HardenOptions(),)
_HARDER: Final = (*_HARDENED, HardenOptions(epsilon=0.0098, consistency=3.0))

#: By name, in the order of the table.
RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "paper": Recipe("the paper's gate on the network as trained", (), _PAPER),
        "tolerant": Recipe("the gate fitted on harmless copies too", (), _TOLERANT),
        "watched": Recipe("the gate on a watch", (), THROUGH_WATCH, watched=True),
        "hardened": Recipe("hardened network, the paper's gate", _HARDENED, _PAPER),
        "hardened-tolerant": Recipe("hardened network, the gate fitted on harmless copies too", _HARDENED, _TOLERANT),
        "hardened-watched": Recipe("hardened network, the gate on a watch", _HARDENED, THROUGH_WATCH, watched=True),
        "between-watched": Recipe(
            "half-way between hardened once and twice, the gate on a watch",
            _HARDER,
            THROUGH_WATCH,
            share=0.5,
            watched=True,
        ),
        "harder-watched": Recipe("network hardened twice, the gate on a watch", _HARDER, THROUGH_WATCH, watched=True),
        "relearned-watched": Recipe(
            "network hardened twice, its last layer learned anew, the gate on a watch",
            _HARDER,
            THROUGH_WATCH,
            relearned=RIDGE,
            watched=True,
        ),
        "beyond-watched": Recipe(
            "beyond the network hardened twice, its last layer learned anew, the gate on a watch",
            _HARDER,
            THROUGH_WATCH,
            share=1.6,
            relearned=0.01,
            watched=True,
        ),
    }
)
