"""The gate: which films are like the clean films that it was fitted on?

A gate is a density and a threshold. Another gate is a class like ``Gaussian`` in a file of its own, with a line in ``DENSITIES``,
and its fit under ``offline/gate``; docs/architecture.md has the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .gaussian import Gaussian

Array = NDArray[np.float64]


class Density(Protocol):
    """Scores how typical films are.

    Attributes
    ----------
    feature_count : int
        g, the number of gate features.
    arrays : mapping
        Its parameters by name, as a bundle and a run store them.
    """

    @property
    def feature_count(self) -> int: ...
    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]: ...

    def log_density(self, gate_features: NDArray[np.floating]) -> Array:
        """Shape (N, g) -> (N,), float64; higher is more typical. A film's score does not depend on its neighbours.

        A score that is no density has this name too, since the record and the metrics use it.
        """
        ...


@dataclass(frozen=True)
class DensityKind:
    """One kind of density.

    Attributes
    ----------
    of : callable
        Arrays by name -> Density; raises ValueError if they do not fit together.
    file : str
        The file in which a bundle and a run keep its arrays.
    """

    of: Callable[..., Density]
    file: str


GAUSSIAN: Final = "gaussian.safetensors"
#: The kinds by the manifest's ``gate.kind``.
DENSITIES: Final = {"mgm": DensityKind(Gaussian, GAUSSIAN)}
DEFAULT_KIND: Final = "mgm"


def kind_of(density: Density) -> str:
    """The name of a density's kind in ``DENSITIES``."""
    return next(name for name, kind in DENSITIES.items() if kind.of is type(density))


@dataclass(frozen=True)
class Gate:
    """A density, and the threshold below which a film is rejected.

    Attributes
    ----------
    density : Density
    threshold : float
        In the density's unit: nats for a Gaussian.
    """

    density: Density
    threshold: float

    def log_density(self, gate_features: NDArray[np.floating]) -> Array:
        """The density's score."""
        return self.density.log_density(gate_features)

    def accepts(self, gate_features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Shape (N, g) -> (N,). A film whose features are not finite is not accepted."""
        return np.asarray(self.log_density(gate_features) >= self.threshold)
