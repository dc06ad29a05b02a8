"""OpenVINO on the CPU (extra ``openvino``)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from openvino import opset13 as op
from torch import Tensor

from ..errors import BackendError
from ..folded import ClampedConvolution, DenseBlock, FoldedNetwork
from ..image import INPUT_SIDE
from ..network import TINY, ChestNetwork
from ..outputs import Outputs

_LARGEST: Final = np.finfo(np.float32).max


class OpenVinoCpu:
    """The folded network, compiled by OpenVINO: film by film, each in a stream of its own.

    The graph is written here operation by operation, and not converted from torch: ``openvino.convert_model``
    reports its use over the network, traces the module anew, and takes a hundred times longer.

    Parameters
    ----------
    network : ChestNetwork
        On the CPU, in evaluation mode.
    threads : int

    Raises
    ------
    BackendError
        This CPU does not compute in float32 when asked to.
    """

    name: Final = "openvino"
    device: Final = torch.device("cpu")

    def __init__(self, network: ChestNetwork, threads: int) -> None:
        self.network = network
        self.most_at_once = threads
        core = openvino.Core()
        model = openvino_model(FoldedNetwork(network))
        options = {
            # By default it uses bfloat16 if the CPU has it, which moves features by 2 %.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads cannot make room for the decoders, or for another process that is pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        # A film alone has all threads. Several have one each, and wait for each other at their end only, not at each of
        # the network's layers, where a thread that a decoder interrupts would hold up all.
        alone = core.compile_model(model, "CPU", {**options, "NUM_STREAMS": 1})
        together = core.compile_model(model, "CPU", {**options, "NUM_STREAMS": threads})
        precision = alone.get_property("INFERENCE_PRECISION_HINT").to_string()
        if precision != "f32":
            raise BackendError(f"OpenVINO computes in {precision} on this CPU, but the gate was fitted in float32")
        processor = core.get_property("CPU", "FULL_DEVICE_NAME")
        version = openvino.get_version().split("-")[0]
        self.description = f"openvino {version}, float32, {processor}, {threads} threads"
        self._alone = alone.create_infer_request()
        self._together = openvino.AsyncInferQueue(together, threads)
        self._given: list[Outputs[NDArray[np.float32]]] = []
        self._together.set_callback(self._take)

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        """As ``Backend.outputs``."""
        films = images.contiguous().numpy()
        if len(films) == 1:
            given = self._alone.infer([films], share_inputs=True)
            return Outputs(given[0], given[1], given[2])
        nothing = np.empty((0, 0), np.float32)
        self._given = [Outputs(nothing, nothing, nothing)] * len(films)
        for place in range(len(films)):
            self._together.start_async([films[place : place + 1]], place, share_inputs=True)
        self._together.wait_all()
        return Outputs(*(np.concatenate(column) for column in zip(*self._given, strict=True)))

    def _take(self, request: Any, place: int) -> None:
        self._given[place] = Outputs(*(request.get_output_tensor(number).data.copy() for number in range(3)))


def openvino_model(network: FoldedNetwork) -> openvino.Model:
    """The folded network as an OpenVINO graph: images (N, 1, 224, 224) -> its ``Outputs``, in order."""
    images = op.parameter([-1, 1, INPUT_SIDE, INPUT_SIDE], np.float32, name="images")
    ones = op.broadcast(op.constant(np.float32(1)), op.shape_of(images))
    inputs = op.concat([images, ones], 1)
    maps = _block(_stem(inputs, network.stem), network.blocks[0])
    for transition, block in zip(network.transitions, network.blocks[1:], strict=True):
        pooled = op.avg_pool(_clamped(maps, transition), [2, 2], [0, 0], [0, 0], [2, 2], True)
        maps = _block(_convolution(pooled, transition.convolution), block)
    maps = op.relu(op.add(op.multiply(maps, _constant(network.scale)), _constant(network.shift)))
    features = op.reduce_mean(maps, _places(), False)
    weighted = op.matmul(features, _constant(network.classifier.weight), False, True)
    logits = op.add(weighted, _constant(network.classifier.bias))
    gate_features = features
    if network.watch is not None:
        gate_features = op.concat(_pooled(_block(_stem(inputs, network.watch.stem), network.watch.block)), 1)
    results = [op.result(output) for output in (features, gate_features, logits)]
    return openvino.Model(results, [images], "cxr-gate")


def _stem(inputs: Any, convolution: Any) -> Any:
    maps = op.relu(_convolution(inputs, convolution))
    return op.max_pool(maps, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)


def _block(maps: Any, block: DenseBlock) -> Any:
    for narrow, wide in zip(block.narrow, block.wide, strict=True):
        added = op.relu(_convolution(_clamped(maps, narrow), narrow.convolution))
        maps = op.concat([maps, _convolution(added, wide)], 1)
    return maps


def _pooled(maps: Any) -> list[Any]:
    """As ``network.pooled``: means and deviations."""
    mean = op.reduce_mean(maps, _places(), True)
    variance = op.reduce_mean(op.squared_difference(maps, mean), _places(), False)
    return [op.squeeze(mean, _places()), op.sqrt(op.add(variance, op.constant(np.float32(TINY))))]


def _places() -> Any:
    return op.constant(np.array([2, 3]))


def _constant(tensor: Tensor) -> Any:
    return op.constant(tensor.contiguous().numpy())


def _convolution(maps: Any, convolution: Any) -> Any:
    padding = list(convolution.padding)
    made = op.convolution(
        maps, _constant(convolution.weight), list(convolution.stride), padding, padding, [1] * len(padding)
    )
    return op.add(made, _constant(convolution.bias.view(1, -1, 1, 1)))


def _clamped(maps: Any, layer: ClampedConvolution) -> Any:
    """As ``ClampedConvolution.clamped``; bounds that bound nothing are left out."""
    low, high = layer.low.numpy(), layer.high.numpy()
    if np.isfinite(low).any():
        maps = op.maximum(maps, op.constant(np.maximum(low, -_LARGEST)))
    if np.isfinite(high).any():
        maps = op.minimum(maps, op.constant(np.minimum(high, _LARGEST)))
    return maps
