"""The folded network is the network, up to the rounding of float32."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.pipeline.folded import ClampedConvolution, FoldedNetwork
from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork


def unruly(network: ChestNetwork) -> ChestNetwork:
    """Normalisations as training may leave them: any sign, some switched off, any mean and variance."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            count = module.num_features
            module.weight.data = torch.randn(count, generator=generator).abs() * 0.3 + 0.7
            module.weight.data[::5] *= -1
            module.weight.data[::7] = 0.0
            module.weight.data[::11] = 1e-38
            module.bias.data = torch.randn(count, generator=generator)
            module.running_mean = torch.randn(count, generator=generator) * 0.1
            module.running_var = torch.rand(count, generator=generator) + 0.5
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> ChestNetwork:
    torch.manual_seed(0)
    return unruly(ChestNetwork(len(LABELS), watched=True))


@pytest.fixture(scope="module")
def images() -> Tensor:
    # Dark and bright up to the border, where padding would tell a mean that was folded wrongly.
    noise = torch.rand((3, 1, 224, 224), generator=torch.Generator().manual_seed(2))
    noise[1], noise[2] = 0.0, 1.0
    return noise


def test_it_is_as_near_to_exact_arithmetic_as_the_network_is(network: ChestNetwork, images: Tensor) -> None:
    folded = FoldedNetwork(network)
    with torch.inference_mode():
        exact = copy.deepcopy(network).double()(images.double())
        plain, quick = network(images), folded(images)
    for truth, own, other in zip(exact, plain, quick, strict=True):
        scale = float(truth.abs().max())
        assert float((other - truth).abs().max()) < 1e-5 * scale
        assert float((other - truth).abs().max()) < 5 * float((own - truth).abs().max()) + 1e-6 * scale


def test_the_network_is_left_as_it_was(network: ChestNetwork, images: Tensor) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = FoldedNetwork(network)
    with torch.inference_mode():
        folded(images)
    for value in folded.state_dict().values():
        value.zero_()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("weight", "bias"), [(2.0, -1.0), (-2.0, 1.0), (0.0, 1.0), (0.0, -1.0), (0.0, 0.0), (1e-30, -3.0), (-1e-30, 3.0)]
)
def test_a_clamp_stands_for_normalisation_and_relu(weight: float, bias: float) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).eval()
    norm.weight.data.fill_(weight)
    norm.bias.data.fill_(bias)
    convolution = nn.Conv2d(3, 4, 1, bias=False)
    layer: Any = ClampedConvolution(norm, convolution)
    maps = torch.randn(2, 3, 5, 5)
    with torch.inference_mode():
        torch.testing.assert_close(
            layer.convolution(layer.clamped(maps)), convolution(torch.relu(norm(maps))), rtol=1e-5, atol=1e-6
        )
