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
    """How typical films are.

    Attributes
    ----------
    feature_count : int
        g, how many gate features it takes.
    arrays : mapping
        What it is made of, by the names of its parameters: so it is stored in a bundle and in a run.
    """

    @property
    def feature_count(self) -> int: ...
    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]: ...

    def log_density(self, gate_features: NDArray[np.floating]) -> Array:
        """Shape (N, g) -> (N,), float64; higher is more typical. A film's does not depend on its neighbours.

        A density that is none calls its score so all the same: it goes into the record and the metrics under this name.
        """
        ...


@dataclass(frozen=True)
class DensityKind:
    """One kind of density.

    Attributes
    ----------
    of : callable
        Arrays by name -> Density; raises ValueError where they do not fit together.
    file : str
        Where a bundle and a run keep its arrays.
    """

    of: Callable[..., Density]
    file: str


GAUSSIAN: Final = "gaussian.safetensors"
#: By the manifest's ``gate.kind``.
DENSITIES: Final = {"mgm": DensityKind(Gaussian, GAUSSIAN)}
DEFAULT_KIND: Final = "mgm"


def kind_of(density: Density) -> str:
    """Its name in ``DENSITIES``."""
    return next(name for name, kind in DENSITIES.items() if kind.of is type(density))


@dataclass(frozen=True)
class Gate:
    """A density, and the threshold below which a film is rejected.

    Attributes
    ----------
    density : Density
    threshold : float
        In the density's unit: nats of a Gaussian.
    """

    density: Density
    threshold: float

    def log_density(self, gate_features: NDArray[np.floating]) -> Array:
        """As of the density."""
        return self.density.log_density(gate_features)

    def accepts(self, gate_features: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Shape (N, g) -> (N,). A film whose features are not finite is not accepted."""
        return np.asarray(self.log_density(gate_features) >= self.threshold)
