"""The protocol of every backend."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..network import ChestNetwork
from ..outputs import Outputs


class Backend(Protocol):
    """The network on one device. Calls are never concurrent, but may come from one thread after another.

    Attributes
    ----------
    name : str
        Its name in ``CXR_BACKEND``.
    device : torch.device
    description : str
        Library, version, precision and hardware, for people.
    most_at_once : int or None
        Larger batches take no less time for each film; None if they do. Films in smaller batches are answered
        sooner, and the next films are decoded meanwhile.
    network : ChestNetwork
        The network in torch, on `device`: for heatmaps and gradients.
    """

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def description(self) -> str: ...
    @property
    def most_at_once(self) -> int | None: ...
    @property
    def network(self) -> ChestNetwork: ...

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """The network's outputs, on the CPU. A row depends on its neighbours in the batch only by rounding.

        Parameters
        ----------
        images : Tensor, shape (N, 1, 224, 224), float32, in [0, 1], on the CPU
            Any N from 1.
        """
        ...
