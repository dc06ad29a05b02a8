"""A gate's density for torch, so that gradients flow from it to the image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.pipeline.gate import Density
from app.pipeline.gaussian import Gaussian


def differentiable(density: Density) -> nn.Module:
    """A density for torch: gate features, shape (N, g) -> log densities, shape (N,), float64.

    Raises
    ------
    ValueError
        This kind of density has no gradients here, so that attackers who know the gate cannot be tried.
    """
    if isinstance(density, Gaussian):
        return LogDensity(density)
    raise ValueError(f"a {type(density).__name__} has no gradients here; add them to offline/attacks/density.py")


class LogDensity(nn.Module):
    """log p(y) of ``app.pipeline.gaussian.Gaussian``, differentiable.

    The attack must see the served number, so the arithmetic is that of ``Gaussian.log_density``: a triangular solve, in float64
    by default. float32 halves the memory and is exact to about 1e-4 of the score.

    Parameters
    ----------
    gaussian : Gaussian, of d features
    """

    mean: Tensor
    cholesky_factor: Tensor

    def __init__(self, gaussian: Gaussian, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(gaussian.mean, dtype=dtype))
        self.register_buffer("cholesky_factor", torch.tensor(gaussian.cholesky_factor, dtype=dtype))
        factor = torch.tensor(gaussian.cholesky_factor, dtype=torch.float64)
        self.constant = float(2 * factor.diagonal().log().sum()) + len(gaussian.mean) * math.log(2 * math.pi)

    def mahalanobis_squared(self, features: Tensor) -> Tensor:
        """||R^-1 (y - mu)||^2, shape (N, d) -> (N,); see ``Gaussian``."""
        centred = features.to(self.mean) - self.mean
        whitened = torch.linalg.solve_triangular(self.cholesky_factor, centred.T, upper=False)
        squared: Tensor = whitened.square().sum(0)
        return squared

    def forward(self, features: Tensor) -> Tensor:
        """Log density in nats (Li & Zhu 2020), shape (N, d), float -> (N,); higher is more typical."""
        return -0.5 * (self.constant + self.mahalanobis_squared(features))


class LogMixture(nn.Module):
    """Several densities, for features with several modes.

    Parameters
    ----------
    densities : Sequence[Density]
    weights : Sequence[float] or None
        Summing to 1; None: equal.
    """

    log_weights: Tensor

    def __init__(self, densities: Sequence[Density], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        shares = [1 / len(densities)] * len(densities) if weights is None else list(weights)
        if len(shares) != len(densities) or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError("a mixture needs one positive weight for each density, summing to 1")
        self.modes = nn.ModuleList(differentiable(density) for density in densities)
        self.register_buffer("log_weights", torch.tensor(shares, dtype=torch.float64).log())

    def each(self, features: Tensor) -> Tensor:
        """Weighted log density under each mode in nats, shape (N, d) -> (N, K)."""
        return torch.stack([mode(features) for mode in self.modes], 1) + self.log_weights

    def forward(self, features: Tensor) -> Tensor:
        """Log density in nats, shape (N, d) -> (N,)."""
        return self.each(features).logsumexp(1)

    def nearest_mode(self, features: Tensor) -> Tensor:
        """Weighted log density under the likeliest mode, shape (N, d) -> (N,)."""
        return self.each(features).amax(1)
