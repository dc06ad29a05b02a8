"""The network is torchvision's DenseNet-121 with mean and deviation inside and its last pooling exposed."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import densenet121

from app.pipeline.network import (
    FEATURE_COUNT,
    GATE_NETWORK_FEATURE_COUNT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChestNetwork,
    LogitsOnly,
    pooled,
)


@pytest.fixture(scope="module")
def network() -> ChestNetwork:
    torch.manual_seed(0)
    return ChestNetwork(14).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand((2, 1, 224, 224), generator=torch.Generator().manual_seed(1))


def test_features_and_logits_are_torchvisions(network: ChestNetwork, images: Tensor) -> None:
    oracle = densenet121(weights=None)
    oracle.features.load_state_dict(network.features.state_dict())
    oracle.classifier = nn.Identity()
    oracle.eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        expected = oracle((images.expand(-1, 3, -1, -1) - mean) / std)
        features, gate_features, logits = network(images)
        expected_logits = expected @ network.classifier.weight.T + network.classifier.bias
    assert features.shape == (2, FEATURE_COUNT)
    assert gate_features is features
    assert logits.shape == (2, 14)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-5)


def test_a_gate_network_gives_mean_and_deviation_of_its_channels(network: ChestNetwork, images: Tensor) -> None:
    torch.manual_seed(5)
    watched, other = ChestNetwork(14, watched=True).eval(), densenet121(weights=None).eval()
    seen = {f"watch.features.{name}": value for name, value in other.features.state_dict().items()}
    watched.load_state_dict({**network.state_dict(), **{k: v for k, v in seen.items() if k in watched.state_dict()}})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        features, gate_features, logits = watched(images)
        expected, _, expected_logits = network(images)
        maps = other.features[:5]((images.expand(-1, 3, -1, -1) - mean) / std).double()
    moments = torch.cat([maps.mean((2, 3)), maps.std((2, 3), correction=0)], 1)
    torch.testing.assert_close(features, expected, rtol=0, atol=0)
    torch.testing.assert_close(gate_features.double(), moments, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=0)
    assert gate_features.shape[1] == watched.gate_feature_count == GATE_NETWORK_FEATURE_COUNT
    assert network.gate_feature_count == FEATURE_COUNT


def test_a_deviation_of_nothing_has_a_gradient() -> None:
    maps = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pooled(maps).sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_weights_load_into_another(network: ChestNetwork, images: Tensor) -> None:
    other = ChestNetwork(14).eval()
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(other(images[:1]), network(images[:1]), rtol=0, atol=0)


def test_another_number_of_labels_does_not_load(network: ChestNetwork) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        ChestNetwork(13).load_state_dict(network.state_dict())


def test_logits_only(network: ChestNetwork, images: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(LogitsOnly(network)(images[:1]), network(images[:1]).logits)


def test_logits_alone_are_the_same_and_run_no_gate_network(images: Tensor) -> None:
    network = ChestNetwork(14, watched=True).eval()
    with torch.inference_mode():
        logits = network(images[:1]).logits
        network.watch = Unasked()  # type: ignore[assignment]
        assert torch.equal(LogitsOnly(network)(images[:1]), logits)


class Unasked(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise AssertionError("the gate's network was run")


def test_gradients_reach_the_pixels(network: ChestNetwork, images: Tensor) -> None:
    pixels = images[:1].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(LogitsOnly(network)(pixels).sum(), pixels)
    assert gradient.shape == pixels.shape
    assert gradient.abs().max() > 0
