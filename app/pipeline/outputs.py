"""What a network says of a batch of films."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T", Tensor, NDArray[np.float32])


class Outputs(NamedTuple, Generic[T]):
    """Of N films, float32.

    Attributes
    ----------
    features : shape (N, d)
        y = H(x) of Li & Zhu 2020: what the logits are computed from; d = 1024 of a DenseNet-121.
    gate_features : shape (N, g)
        What the gate sees: those of a ``GateNetwork`` where there is one, else the features themselves.
    logits : shape (N, number of findings)
    """

    features: T
    gate_features: T
    logits: T
