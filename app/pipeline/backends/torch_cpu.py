"""torch on the CPU."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..folded import FoldedNetwork
from ..network import ChestNetwork
from ..outputs import Outputs


class TorchCpu:
    """The folded network in eager torch, channels innermost.

    Parameters
    ----------
    network : ChestNetwork
        On the CPU, in evaluation mode.
    """

    name: Final = "torch"
    device: Final = torch.device("cpu")
    most_at_once: Final = None

    def __init__(self, network: ChestNetwork) -> None:
        self.network = network
        self.description = f"torch {torch.__version__}, float32, CPU, {torch.get_num_threads()} threads"
        self._folded = FoldedNetwork(network)

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """As ``Backend.outputs``."""
        with torch.inference_mode():
            outputs = self._folded(images)
        return Outputs(*(output.numpy() for output in outputs))
