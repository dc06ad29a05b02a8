"""The outputs of a network for a batch of films."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T", Tensor, NDArray[np.float32])


class Outputs(NamedTuple, Generic[T]):
    """Outputs for N films, float32.

    Attributes
    ----------
    features : shape (N, d)
        y = H(x) of Li & Zhu 2020: the logits are computed from them; d = 1024 for a DenseNet-121.
    gate_features : shape (N, g)
        The gate's input: features of a ``GateNetwork`` if there is one, otherwise `features` themselves.
    logits : shape (N, number of findings)
    """

    features: T
    gate_features: T
    logits: T
