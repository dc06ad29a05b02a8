"""The density that attackers see is the one that is served, and so is its gradient."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from app.pipeline.gate import Gate
from app.pipeline.gaussian import Gaussian
from offline.attacks.density import LogDensity, LogMixture
from offline.attacks.search import look

from .toys import Convolutional, Victim, gaussian, posted

D = 40


@pytest.fixture(scope="module")
def served() -> Gaussian:
    random = np.random.default_rng(0)
    root = random.normal(size=(D, D)) * np.geomspace(1e-2, 1, D)  # ill-conditioned, as real features are
    return Gaussian(random.normal(size=D), np.linalg.cholesky(root @ root.T + 1e-3 * np.eye(D)))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_agrees_with_the_served_density(served: Gaussian, dtype: torch.dtype, rtol: float) -> None:
    features = np.random.default_rng(1).normal(size=(16, D)).astype(np.float32)
    found = LogDensity(served, dtype)(torch.from_numpy(features))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), served.log_density(features), rtol=rtol)


def test_gradient_in_the_features(served: Gaussian) -> None:
    density = LogDensity(served)
    features = torch.randn((3, D), dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda y: density(y) / 1e3, (features,))
    (gradient,) = torch.autograd.grad(density(features).sum(), features)
    covariance = served.cholesky_factor @ served.cholesky_factor.T
    closed = -np.linalg.solve(covariance, (features.detach().numpy() - served.mean).T).T
    np.testing.assert_allclose(gradient.numpy(), closed, rtol=1e-6)


def test_gradient_in_the_image() -> None:
    network = Convolutional()
    images = posted(2, 4)
    seen = network(images).gate_features
    gate = Gate(gaussian(seen.mean(0) + 0.1, 0.01 * torch.eye(6)), 0.0)
    victim = Victim.of(network, gate, torch.tensor([0.5] * 3))
    leaf = images.clone().requires_grad_(True)
    probe = look(victim, leaf, torch.arange(2), victim.choose("invent", images))
    gradient = probe.gradient(probe.excess)
    network.double()
    step, way = 1e-4, torch.randn(images.shape, generator=torch.Generator().manual_seed(5)).double()
    with torch.no_grad():
        up, down = (victim.density(network(images.double() + sign * step * way).gate_features) for sign in (1, -1))
    torch.testing.assert_close((gradient.double() * way).sum((1, 2, 3)), (up - down) / (2 * step), rtol=1e-3, atol=1e-3)


def test_a_mixture_against_scipy(served: Gaussian) -> None:
    other = Gaussian(served.mean + 0.01, served.cholesky_factor * 1.1)
    features = np.random.default_rng(3).normal(size=(5, D)) * 0.1 + served.mean
    parts = [
        multivariate_normal(mode.mean, mode.cholesky_factor @ mode.cholesky_factor.T).logpdf(features) + np.log(weight)
        for mode, weight in ((served, 0.3), (other, 0.7))
    ]
    mixture = LogMixture([served, other], [0.3, 0.7])
    tensor = torch.from_numpy(features)
    np.testing.assert_allclose(mixture(tensor).numpy(), np.logaddexp(*parts), rtol=1e-6)
    np.testing.assert_allclose(mixture.nearest_mode(tensor).numpy(), np.maximum(*parts), rtol=1e-6)


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6], [1.0, 0.0]])
def test_weights_that_make_no_mixture(served: Gaussian, weights: list[float]) -> None:
    with pytest.raises(ValueError, match="summing to 1"):
        LogMixture([served, served], weights)
