"""torch on the CPU."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..folded import FoldedNetwork
from ..network import ChestNetwork


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

    def outputs(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As ``Backend.outputs``."""
        with torch.inference_mode():
            features, logits = self._folded(images)
        return features.numpy(), logits.numpy()
