"""The threshold: a finite-sample (conformal) quantile of held-out clean scores, or the paper's rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """``value`` in nats; ``bound``: with 95 % confidence the false-rejection rate on similar films is below it."""

    value: float
    bound: float


def held_out_threshold(scores: Array, target: float) -> Threshold:
    """The k-th smallest of m held-out scores with k = floor(target (m + 1)).

    A new clean film that is exchangeable with these then scores below it with probability at most `target`, for every
    distribution (Vovk et al. 2005; Bates et al. 2104.08279). Given these m films, the rate has the distribution
    Beta(k, m + 1 - k). The bound is its 95 % quantile.

    Parameters
    ----------
    scores : ndarray, shape (m,)
        Log densities of clean films that neither the network nor the Gaussian has seen.
    target : float
        In (0, 1).

    Raises
    ------
    ValueError
        There are too few films for the target: m must be at least 1/target - 1.
    """
    m = len(scores)
    k = math.floor(target * (m + 1) + 1e-9)
    if k < 1:
        raise ValueError(
            f"{m} held-out films are too few for a false-rejection rate of {target:g}; "
            f"at least {math.ceil(1 / target) - 1} are needed"
        )
    return Threshold(float(np.sort(scores)[k - 1]), float(beta.ppf(0.95, k, m + 1 - k)))


def training_threshold(scores: Array, target: float) -> Threshold:
    """The paper's rule: the `target` quantile of the scores of the Gaussian's training images. It bounds no rate."""
    return Threshold(float(np.quantile(scores, target)), 1.0)
