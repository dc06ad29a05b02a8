"""The class activation map adds up to the logit, its positive part is Grad-CAM, and it is told whether a place stands out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import expit
from torch.nn import functional as F

from app.pipeline import LABELS, Bundle, ChestNetwork, Screener, read_bundle, torch_backend
from app.pipeline.heatmap import MAP_SHAPE, SPREAD, Heatmap, class_activation_maps, spread
from app.pipeline.manifest import Finding
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle


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
        logits = network(image).logits
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


@pytest.fixture(scope="module")
def films() -> torch.Tensor:
    return torch.rand(2, 1, 1, 224, 224, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, films: torch.Tensor) -> Bundle:
    """The first film is what is typical."""
    written = read_bundle(write_random_bundle(tmp_path_factory.mktemp("bundle") / "b", ACCEPT_EVERYTHING))
    return replace(written, typical_maps=class_activation_maps(written.network, films[0]))


def test_a_screener_shows_what_a_film_adds_to_typical_ones(bundle: Bundle, films: torch.Tensor) -> None:
    """Its mean is how far the logit lies over the typical one."""
    screener = Screener(bundle, torch_backend(bundle.network, torch.device("cpu")))
    assert np.abs(screener.explain(films[0], 4).shares).max() < 1e-6
    with torch.inference_mode():
        logits = [bundle.network(film).logits[0, 4] for film in films]
    assert screener.explain(films[1], 4).shares.mean() == pytest.approx(float(logits[1] - logits[0]), abs=1e-5)


def with_finding(bundle: Bundle, finding: Finding) -> Bundle:
    findings = [finding if row == 4 else one for row, one in enumerate(bundle.manifest.findings)]
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"findings": findings}))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (2.5, -4.0)])
def test_the_rise_leads_from_the_typical_logit_to_the_point_of_present(
    bundle: Bundle, films: torch.Tensor, slope: float, intercept: float
) -> None:
    """Told by the calls themselves: at that logit the finding is called present, and just below it is not."""
    finding = bundle.manifest.findings[4].model_copy(update={"slope": slope, "intercept": intercept})
    moved = with_finding(bundle, finding)
    rise = Screener(moved, torch_backend(bundle.network, torch.device("cpu"))).explain(films[1], 4).rise
    assert rise is not None
    with torch.inference_mode():
        typical = float(bundle.network(films[0]).logits[0, 4])

    def called(logit: float) -> str:
        logits = np.zeros(len(LABELS))
        logits[4] = logit
        return moved.calls.words(expit(moved.calls.log_odds(logits)))[4]

    assert (called(typical + rise + 1e-4), called(typical + rise - 1e-4)) == ("present", "indeterminate")


def test_a_finding_that_is_not_called_has_no_rise(bundle: Bundle, films: torch.Tensor) -> None:
    unknown = bundle.manifest.findings[4].model_copy(update={"present_from": None, "absent_below": None})
    screener = Screener(with_finding(bundle, unknown), torch_backend(bundle.network, torch.device("cpu")))
    assert screener.explain(films[1], 4).rise is None


def at(row: int, column: int, value: float) -> np.ndarray:
    shares = np.zeros(MAP_SHAPE, np.float32)
    shares[row, column] = value
    return shares


def test_a_map_is_spread_as_scipy_does_it() -> None:
    shares = np.random.default_rng(3).normal(size=MAP_SHAPE).astype(np.float32)
    expected = gaussian_filter(shares.astype(np.float64), SPREAD, mode="constant", cval=0.0, truncate=8.0)
    np.testing.assert_allclose(spread(shares), expected, atol=1e-6)


def test_what_has_no_neighbours_loses_to_what_has() -> None:
    """A place at the edge that is a little stronger than a group in the middle, as the network's padding makes it."""
    group = at(3, 3, 1.0) + at(3, 4, 1.0) + at(4, 3, 1.0)
    assert np.unravel_index((group + at(0, 0, 1.2)).argmax(), MAP_SHAPE) == (0, 0)
    assert np.unravel_index(spread(group + at(0, 0, 1.2)).argmax(), MAP_SHAPE) == (3, 3)
    assert np.unravel_index(spread(np.ones(MAP_SHAPE, np.float32)).argmax(), MAP_SHAPE) == (3, 3)


@pytest.mark.parametrize(
    ("shares", "rise", "localised"),
    [
        (np.full(MAP_SHAPE, 2.0, np.float32), 1.9, True),  # the film as a whole is called present: its middle shows it
        (np.full(MAP_SHAPE, 2.0, np.float32), 2.1, False),
        (at(3, 3, 10.0), 1.5, True),  # one place, at 10 / (2 pi) = 1.59
        (at(3, 3, 10.0), 1.7, False),
        (at(3, 3, 0.01), None, True),
        (np.zeros(MAP_SHAPE, np.float32), None, False),
        (-np.ones(MAP_SHAPE, np.float32), None, False),
        (
            -np.ones(MAP_SHAPE, np.float32),
            -2.0,
            False,
        ),  # a typical film is called present already, and this one less so
    ],
)
def test_what_is_localised_and_what_is_shown(shares: np.ndarray, rise: float | None, localised: bool) -> None:
    heatmap = Heatmap(shares, rise)
    assert heatmap.localised is localised
    assert heatmap.shown.any() == localised
    assert heatmap.shown.min() >= 0
