"""Changes to a training film before a network sees it: geometry, exposure, and mixing with another film."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms import v2


def augmentation() -> v2.Compose:
    """Differences between hospitals and positions: small geometry, mirror image, brightness and contrast."""
    return v2.Compose(
        [
            v2.RandomAffine(
                degrees=5,
                translate=(0.03, 0.03),
                scale=(0.95, 1.08),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.1, contrast=0.1),
        ]
    )


def exposure(image: Tensor) -> Tensor:
    """A gamma from .78 to 1.28, and a little noise on three films of ten. Hospitals' films differ in these."""
    bright = image.clamp(1e-4, 1) ** math.exp(float(torch.empty(()).uniform_(-0.25, 0.25)))
    if float(torch.rand(())) < 0.3:
        bright = bright + torch.randn_like(bright) * torch.empty(()).uniform_(0, 0.006)
    return bright.clamp(0, 1)


def mixup(images: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each film of a batch, and its targets, with another film (Zhang et al., ICLR 2018, arXiv 1710.09412).

    A program read the labels of ChestX-ray14 from reports, and many are wrong. A blend weakens the effect of each label.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W)
    targets : Tensor, shape (N, L)
    alpha : float
        Parameter of the Beta distribution from which the other film's share is drawn; 0 leaves the batch unchanged.
    """
    if not alpha:
        return images, targets
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(images), device=images.device)
    return torch.lerp(images, images[other], share), torch.lerp(targets, targets[other], share)
