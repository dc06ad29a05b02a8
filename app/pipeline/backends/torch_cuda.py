"""torch on one GPU, as CUDA graphs of fixed batch sizes."""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..folded import FoldedNetwork
from ..image import INPUT_SIDE
from ..network import ChestNetwork
from ..outputs import Outputs

WARM_UP_RUNS: Final = 3  # before a capture: cuDNN chooses its algorithms, cuBLAS allocates its workspace


class TorchCuda:
    """The folded network on a GPU.

    A forward pass is some 250 kernels of microseconds each, which at small batches cost more to launch than to run; a
    graph launches them all at once. Batches are padded up to the next size that was captured, and longer ones are cut.

    float32 throughout: TF32 has 10 bits of mantissa, which moves features by 1e-3, and the gate was not fitted on such features.

    Parameters
    ----------
    network : ChestNetwork
        In evaluation mode; it is copied, so that each GPU has its own.
    device : torch.device
        With its index.
    max_batch : int
        The largest batch that is run at once.
    """

    name: Final = "torch"
    most_at_once: Final = None

    def __init__(self, network: ChestNetwork, device: torch.device, max_batch: int) -> None:
        self.device = device
        self.description = f"torch {torch.__version__}, float32, {torch.cuda.get_device_name(device)} ({device})"
        self.network = copy.deepcopy(network).to(device)
        folded = FoldedNetwork(network).to(device)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self._graphs = [_Graph(folded, device, size) for size in graph_sizes(max_batch)]

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """As ``Backend.outputs``."""
        parts = [self._of_part(part) for part in torch.split(images, self._graphs[-1].size)]
        return Outputs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _of_part(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        graph = next(graph for graph in self._graphs if graph.size >= len(images))
        return graph.run(images)


def graph_sizes(max_batch: int) -> list[int]:
    """The powers of two below `max_batch`, and itself: padding at most doubles a batch."""
    return [size for size in (2**power for power in range(max_batch.bit_length())) if size < max_batch] + [max_batch]


class _Graph:
    """The network captured at one batch size, with its buffers on the GPU and, pinned, on the host."""

    def __init__(self, network: FoldedNetwork, device: torch.device, size: int) -> None:
        self.size = size
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        shape = (size, 1, INPUT_SIDE, INPUT_SIDE)
        self._host_images = torch.zeros(shape, pin_memory=True)
        self._images = torch.zeros(shape, device=device)
        # cuDNN measures its algorithms for this very size, once, and the graph holds the choice.
        choosing = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with torch.inference_mode(), torch.cuda.device(device), choosing:
            self._stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP_RUNS):
                    network(self._images)
            self._stream.synchronize()
            # Another version may serve on this GPU meanwhile. Its work must not end the capture, and the capture
            # must not end its work.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._outputs = network(self._images)
        self._host_outputs = tuple(torch.empty(output.shape, pin_memory=True) for output in self._outputs)

    def run(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """Up to ``size`` images."""
        count = len(images)
        with torch.inference_mode(), torch.cuda.device(self._images.device), torch.cuda.stream(self._stream):
            self._host_images[:count] = images
            self._host_images[count:] = 0  # and not the content of an earlier batch
            self._images.copy_(self._host_images, non_blocking=True)
            self._graph.replay()
            for host, output in zip(self._host_outputs, self._outputs, strict=True):
                host.copy_(output, non_blocking=True)
            self._stream.synchronize()
        return Outputs(*(host[:count].numpy().copy() for host in self._host_outputs))
