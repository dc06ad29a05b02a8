"""Small victims on which the answer of every attack is known."""

import numpy as np
import torch
from torch import Tensor, nn

from app.pipeline.gate import Gate
from app.pipeline.gaussian import Gaussian
from app.pipeline.outputs import Outputs
from offline.attacks import Victim

SIDE = 8
OPERATING_POINTS = torch.tensor([0.3, 0.5, 0.6])


class LinearVictim(nn.Module):
    """Linear features A x and linear logits W x + b on images of 8x8."""

    def __init__(self, features: Tensor, logits: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.features = nn.Parameter(features)  # (d, H, W)
        self.logits = nn.Parameter(logits)  # (L, H, W)
        self.bias = nn.Parameter(bias)  # (L,)

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        grey = images[:, 0]
        features = torch.einsum("nhw,dhw->nd", grey, self.features)
        return Outputs(features, features, torch.einsum("nhw,lhw->nl", grey, self.logits) + self.bias)


class Convolutional(nn.Module):
    """Random weights, two layers, smooth and not linear."""

    def __init__(self, labels: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.classifier = nn.Linear(6, labels)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        features = torch.nn.functional.softplus(self.first(images)).mean((2, 3))
        return Outputs(features, features, self.classifier(features))


def posted(n: int, seed: int, side: int = SIDE) -> Tensor:
    """Random 8-bit images, shape (n, 1, side, side)."""
    return torch.randint(0, 256, (n, 1, side, side), generator=torch.Generator().manual_seed(seed)).float() / 255


def gaussian(mean: Tensor, covariance: Tensor) -> Gaussian:
    return Gaussian(mean.double().numpy(), np.linalg.cholesky(covariance.double().numpy()))


def apart() -> tuple[Victim, Tensor]:
    """Logits read the left half, the gate the right one: whoever wants the goal never meets the gate."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((3, SIDE, SIDE), generator=generator)
    logits[:, :, SIDE // 2 :] = 0
    features = torch.randn((2, SIDE, SIDE), generator=generator)
    features[:, :, : SIDE // 2] = 0
    images = posted(12, 1)
    network = LinearVictim(features, logits, -torch.einsum("lhw,nhw->nl", logits, images[:, 0]).mean(0))
    seen = network(images).features.detach()
    density = gaussian(seen.mean(0), torch.eye(2))
    gate = Gate(density, float(density.log_density(seen.numpy()).min()) - 1)
    return Victim.of(network, gate, OPERATING_POINTS), images


def entangled(levels: int = 3) -> tuple[Victim, Tensor]:
    """The logit reads every pixel alike, the gate the mean of the right half, in grey levels, and allows one.

    Grey 128 everywhere; the finding is over its point by what `levels` - 1/2 levels of every pixel take away. So
    all pixels moved alike are caught, and the left half alone, moved twice as far, passes.
    """
    images = torch.full((2, 1, SIDE, SIDE), 128 / 255)
    right = torch.zeros(1, SIDE, SIDE)
    right[:, :, SIDE // 2 :] = 255 / (SIDE * SIDE / 2)
    logits = torch.full((1, SIDE, SIDE), 255 / (SIDE * SIDE))
    network = LinearVictim(right, logits, torch.tensor([-128.0 + levels - 0.5]))
    density = gaussian(torch.tensor([128.0]), torch.eye(1))
    gate = Gate(density, float(density.log_density(np.array([[129.5]]))[0]))
    return Victim.of(network, gate, torch.tensor([0.5])), images
