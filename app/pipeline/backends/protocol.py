"""What every backend is."""

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
        As ``CXR_BACKEND`` names it.
    device : torch.device
    description : str
        Library, version, precision and hardware, for people.
    most_at_once : int or None
        Batches of more films are no faster a film; None where they are. What waits for a smaller batch is answered sooner,
        and while it is computed the next films are decoded.
    network : ChestNetwork
        The network as torch has it, on `device`: for heatmaps and gradients.
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
        """As the network's, on the CPU. A row does not depend on its neighbours in the batch but by rounding.

        Parameters
        ----------
        images : Tensor, shape (N, 1, 224, 224), float32, in [0, 1], on the CPU
            Any N from 1.
        """
        ...
