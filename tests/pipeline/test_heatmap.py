"""The class activation map adds up to the logit, and its positive part is Grad-CAM."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.pipeline import LABELS, ChestNetwork, Screener, read_bundle, torch_backend
from app.pipeline.heatmap import class_activation_maps
from tests.bundles import ACCEPT_EVERYTHING, write_random_bundle


@pytest.fixture(scope="module")
def network() -> ChestNetwork:
    torch.manual_seed(0)
    return ChestNetwork(len(LABELS)).eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("finding", [0, 6, 13])
def test_shares_add_up_to_the_logit(network: ChestNetwork, image: torch.Tensor, finding: int) -> None:
    shares = class_activation_maps(network, image)[finding]
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
    shares = torch.from_numpy(class_activation_maps(network, image)[2]).clamp_min(0)
    torch.testing.assert_close(shares / shares.max(), grad_cam / grad_cam.max(), rtol=1e-4, atol=1e-5)


def test_a_screener_shows_what_a_film_adds_to_typical_ones(tmp_path: Path) -> None:
    """Its mean is how far the logit lies over the typical one."""
    bundle = read_bundle(write_random_bundle(tmp_path / "bundle", ACCEPT_EVERYTHING))
    first, second = torch.rand(2, 1, 1, 224, 224, generator=torch.Generator().manual_seed(2))
    bundle = replace(bundle, typical_maps=class_activation_maps(bundle.network, first))
    screener = Screener(bundle, torch_backend(bundle.network, torch.device("cpu")))
    assert np.abs(screener.explain(first, 4)).max() < 1e-6
    with torch.inference_mode():
        logits = [bundle.network(image)[1][0, 4] for image in (first, second)]
    assert screener.explain(second, 4).mean() == pytest.approx(float(logits[1] - logits[0]), abs=1e-5)
