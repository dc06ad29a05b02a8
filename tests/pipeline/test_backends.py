"""Each backend gives the network's outputs, alone or in a batch, proves so at start, and is never swapped for another."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.pipeline import LABELS, Backend, Bundle, Screener, choose_backends, read_bundle
from app.pipeline.backends import choice
from app.pipeline.backends.torch_cuda import graph_sizes
from app.pipeline.errors import BackendError, BundleError, NumericalError
from app.pipeline.network import FEATURE_COUNT, ChestNetwork
from app.pipeline.outputs import Outputs
from app.pipeline.screener import LOG_DENSITY_ATOL, LOG_DENSITY_RTOL, SIGMOID_ATOL

DEFAULT_BUNDLE = Path(__file__).resolve().parents[2] / "artifacts" / "default"
#: Of an image's log density and probabilities between a batch and alone, as docs/engine.md states.
NEIGHBOUR_NATS = 0.02
NEIGHBOUR_PROBABILITY = 2e-5


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(DEFAULT_BUNDLE)


def available(name: str) -> bool:
    if name == "cuda":
        return torch.cuda.is_available()
    return name == "torch" or importlib.util.find_spec("openvino") is not None


@pytest.fixture(scope="module", params=["torch", "openvino", "cuda"])
def backend(request: pytest.FixtureRequest, bundle: Bundle) -> Backend:
    if not available(request.param):
        pytest.skip(f"{request.param} is not here")
    name, device = ("torch", "cuda:0") if request.param == "cuda" else (request.param, "cpu")
    return choose_backends(bundle.network, name, device, max_batch=8, threads=0)[0]


@pytest.fixture(scope="module")
def images(bundle: Bundle) -> Tensor:
    """The golden ones, and one of noise, whose features lie far out."""
    golden = torch.from_numpy(bundle.golden.images).float() / 255
    return torch.cat([golden, torch.rand((1, *golden.shape[1:]), generator=torch.Generator().manual_seed(3))])


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_a_gate_network_sees_what_the_networks_does(name: str, bundle: Bundle, images: Tensor) -> None:
    if not available(name):
        pytest.skip(f"{name} is not here")
    torch.manual_seed(0)
    network = ChestNetwork(len(LABELS), watched=True).eval().requires_grad_(False)
    network.load_state_dict(bundle.network.state_dict(), strict=False)
    backend = choose_backends(network, name, "cpu", max_batch=8, threads=0)[0]
    with torch.inference_mode():
        expected = network(images).gate_features
    for batch, wanted in ((images, expected), (images[:1], expected[:1])):
        seen = backend.outputs(batch).gate_features
        assert seen.shape == wanted.shape
        assert float(np.abs(seen - wanted.numpy()).max()) < 2e-5 * float(wanted.abs().max())


def test_outputs_are_the_networks(backend: Backend, bundle: Bundle, images: Tensor) -> None:
    with torch.inference_mode():
        expected = bundle.network(images)
    outputs = backend.outputs(images)
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    widths = (FEATURE_COUNT, bundle.network.gate_feature_count, len(LABELS))
    assert [output.shape for output in outputs] == [(len(images), width) for width in widths]
    for given, wanted in zip(outputs, expected, strict=True):
        assert float(np.abs(given - wanted.numpy()).max()) < 2e-5 * float(wanted.abs().max())


def test_it_proves_itself_well_within_the_tolerance(backend: Backend, bundle: Bundle) -> None:
    screener = Screener(bundle, backend)
    screener.require_golden()
    difference = screener.golden_difference()
    tolerance = LOG_DENSITY_ATOL + LOG_DENSITY_RTOL * np.abs(bundle.golden.log_densities)
    assert (difference.log_densities < tolerance / 10).all()
    assert difference.sigmoids.max() < SIGMOID_ATOL / 10


def test_an_image_does_not_depend_on_its_neighbours(backend: Backend, bundle: Bundle, images: Tensor) -> None:
    def scored(batch: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        _, gate_features, logits = backend.outputs(batch)
        return bundle.gate.log_density(gate_features), 1 / (1 + np.exp(-logits.astype(np.float64)))

    alone = [scored(image[None]) for image in images]
    for batch in (images.flip(0), images[:3], torch.cat([images, images[:3]])):
        densities, probabilities = scored(batch)
        for image, density, row in zip(batch, densities, probabilities, strict=True):
            ((own_density, own_row),) = (
                own for candidate, own in zip(images, alone, strict=True) if torch.equal(candidate, image)
            )
            assert abs(density - own_density[0]) < NEIGHBOUR_NATS
            assert np.abs(row - own_row[0]).max() < NEIGHBOUR_PROBABILITY


def test_outputs_stay_when_the_next_batch_comes(backend: Backend, images: Tensor) -> None:
    first = backend.outputs(images[:2])
    kept = [output.copy() for output in first]
    backend.outputs(images[2:4])
    for output, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(output, before)


def test_images_that_are_not_finite_are_told_and_harm_no_neighbour(
    backend: Backend, bundle: Bundle, images: Tensor
) -> None:
    spoilt = images.clone()
    spoilt[1, 0, 5, 5], spoilt[2, 0, 9, 9] = torch.nan, torch.inf
    screener = Screener(bundle, backend)
    results, clean = screener.screen(spoilt), screener.screen(images)
    assert [isinstance(result, NumericalError) for result in results[:4]] == [False, True, True, False]
    for index in (0, 3):
        given, wanted = results[index], clean[index]
        assert type(given) is type(wanted)
        assert getattr(given, "log_density", 0.0) == pytest.approx(getattr(wanted, "log_density", 0.0), abs=0.02)


def test_the_heatmap_is_of_the_network(backend: Backend, bundle: Bundle, images: Tensor) -> None:
    logits = backend.outputs(images[:1]).logits
    shares = Screener(bundle, backend).explain(images[:1], 3).shares + bundle.typical_maps[3]
    bias = float(bundle.network.classifier.bias[3])
    assert float(shares.mean()) + bias == pytest.approx(float(logits[0, 3]), abs=1e-4)


class Coarse:
    """A backend that rounds the image to bfloat16, as one would that took a lower precision by itself."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def outputs(self, images: Tensor) -> Outputs[NDArray[np.float32]]:
        return self._backend.outputs(images.bfloat16().float())


def test_a_backend_of_lower_precision_is_refused(backend: Backend, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="differ") as refusal:
        Screener(bundle, Coarse(backend)).require_golden()
    assert backend.description in str(refusal.value)


def test_auto_takes_what_is_there(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(backend: str, device: str) -> list[tuple[str, str]]:
        made = choose_backends(bundle.network, backend, device, max_batch=1, threads=0)
        return [(one.name, str(one.device)) for one in made]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    installed = available("openvino")
    assert chosen("auto", "auto") == [("openvino" if installed else "torch", "cpu")]
    assert chosen("torch", "auto") == [("torch", "cpu")]
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    assert chosen("auto", "cpu") == [("torch", "cpu")]


def test_every_gpu_gets_a_backend_of_its_own(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    made: list[tuple[torch.device, int]] = []
    monkeypatch.setattr(choice, "TorchCuda", lambda network, device, max_batch: made.append((device, max_batch)))
    for device in ("auto", "cuda:2, cuda", "cuda:1"):
        choose_backends(bundle.network, "auto", device, max_batch=4, threads=0)
    assert made == [(torch.device("cuda", index), 4) for index in (0, 1, 2, 2, 0, 1)]


@pytest.mark.parametrize(
    ("backend_name", "device", "gpus", "installed", "words"),
    [
        ("tensorrt", "cpu", 0, True, "not one of auto, torch, openvino"),
        ("openvino", "cpu", 0, False, "not installed"),
        ("openvino", "cuda:0", 1, True, "not on cuda:0"),
        ("torch", "cuda", 0, True, "no GPU"),
        ("torch", "cuda:1", 1, True, "this machine has 1 GPUs"),
        ("auto", "cuda:0,cuda", 2, True, "twice"),
        ("auto", "tpu", 0, True, "not known"),
        ("auto", "meta", 0, True, "not served"),
    ],
)
def test_what_is_named_and_absent_is_an_error(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    backend_name: str,
    device: str,
    gpus: int,
    installed: bool,
    words: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(choice, "find_spec", lambda _: object() if installed else None)
    with pytest.raises(BackendError, match=words):
        choose_backends(bundle.network, backend_name, device, max_batch=1, threads=0)


def test_a_gpu_that_fails_at_start_is_an_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(choice, "TorchCuda", broken)
    with pytest.raises(BackendError, match="cannot start on cuda:0: out of memory"):
        choose_backends(bundle.network, "auto", "auto", max_batch=1, threads=0)


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (32, [1, 2, 4, 8, 16, 32])]
)
def test_graphs_are_of_sizes_that_at_most_double_a_batch(largest: int, sizes: list[int]) -> None:
    assert graph_sizes(largest) == sizes


def test_the_golden_check_tells_other_weights(backend: Backend, bundle: Bundle) -> None:
    golden = dataclasses.replace(bundle.golden, log_densities=bundle.golden.log_densities - 10)
    with pytest.raises(BundleError, match="log densities differ"):
        Screener(dataclasses.replace(bundle, golden=golden), backend).require_golden()
