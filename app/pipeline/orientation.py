"""Is the film the right way up, and not inverted? A linear model on the features from which the findings are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Array = NDArray[np.float64]

#: The possible senses of a film, in the order of the model's rows; the first is right.
SENSES: Final = (
    "upright",
    "turned a quarter to the left",
    "turned a quarter to the right",
    "upside down",
    "inverted, bone dark and lung bright",
)


@dataclass(frozen=True)
class Orientation:
    """Multinomial logistic regression over ``SENSES``.

    It judges only films whose log density is at least ``least_log_density``. Strong attacks move the features so far
    that the answer of a linear model means nothing. They lie below turned clean films, and are left to the gate.

    Attributes
    ----------
    weights : ndarray, shape (len(SENSES), d), float64
        Of ``Outputs.features``.
    bias : ndarray, shape (len(SENSES),), float64
    least_log_density : float
        Nats.
    """

    weights: Array
    bias: Array
    least_log_density: float

    def __post_init__(self) -> None:
        k = len(SENSES)
        if self.weights.ndim != 2 or len(self.weights) != k or self.bias.shape != (k,):
            raise ValueError(f"weights have shape {self.weights.shape}, bias {self.bias.shape}; expected {k} rows each")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ValueError("weights and bias must be finite")

    def probabilities(self, features: NDArray[np.floating]) -> Array:
        """Features, shape (N, d) -> probability of each sense, shape (N, len(SENSES))."""
        logits = np.asarray(features, dtype=np.float64) @ self.weights.T + self.bias
        return np.asarray(softmax(logits, axis=1))

    def faults(self, features: NDArray[np.floating], log_densities: Array) -> list[str | None]:
        """The sense of each film that is more likely wrong than right, or None; shapes (N, d) and (N,)."""
        probabilities = self.probabilities(features)
        spoken = (probabilities[:, 0] < 0.5) & (log_densities >= self.least_log_density)
        likeliest = 1 + probabilities[:, 1:].argmax(axis=1)
        return [SENSES[sense] if said else None for sense, said in zip(likeliest, spoken, strict=True)]
