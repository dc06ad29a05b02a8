"""The class activation map adds up to the logit, and its positive part is Grad-CAM."""

import pytest
import torch
from torch.nn import functional as F

from app.pipeline import LABELS, ChestNetwork
from app.pipeline.heatmap import class_activation_map


@pytest.fixture(scope="module")
def network() -> ChestNetwork:
    torch.manual_seed(0)
    return ChestNetwork(len(LABELS)).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("finding", [0, 6, 13])
def test_shares_add_up_to_the_logit(network: ChestNetwork, image: torch.Tensor, finding: int) -> None:
    shares = class_activation_map(network, image, finding)
    assert shares.shape == (7, 7)
    with torch.inference_mode():
        _, logits = network(image)
    assert shares.mean() + float(network.classifier.bias[finding].detach()) == pytest.approx(
        float(logits[0, finding]), abs=1e-5
    )


def test_its_positive_part_is_grad_cam(network: ChestNetwork, image: torch.Tensor) -> None:
    normalised = (image - network.image_mean) / network.image_std
    maps = F.relu(network.features(normalised)).detach().requires_grad_()
    network.classifier(F.adaptive_avg_pool2d(maps, 1).flatten(1))[0, 2].backward()
    weights = maps.grad.mean((2, 3))  # Selvaraju et al. 2017, equation 1
    grad_cam = F.relu(torch.einsum("k,kij->ij", weights[0], maps[0])).detach()  # equation 2
    shares = torch.from_numpy(class_activation_map(network, image, 2)).clamp_min(0)
    torch.testing.assert_close(shares / shares.max(), grad_cam / grad_cam.max(), rtol=1e-4, atol=1e-5)
