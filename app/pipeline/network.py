"""Tensor -> (features, logits): torchvision's DenseNet-121 with its last pooling layer exposed."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet121

FEATURE_COUNT: Final = 1024
#: Mean and deviation of the ImageNet images that the initial weights were trained on, RGB in [0,1].
IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class ChestNetwork(nn.Module):
    """DenseNet-121 (Huang et al., CVPR 2017) on grey images in [0,1].

    Mean and standard deviation live inside, so that an epsilon outside has one meaning.

    Parameters
    ----------
    label_count : int
        Number of logits.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, label_count: int) -> None:
        super().__init__()
        densenet = densenet121(weights=None)
        self.features: nn.Module = densenet.features
        self.classifier = nn.Linear(FEATURE_COUNT, label_count)
        self.register_buffer("image_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        # Convolutions on the CPU are about twice as fast when channels are innermost.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features and logits.

        Parameters
        ----------
        images : Tensor, shape (N, 1, 224, 224), float, in [0, 1]

        Returns
        -------
        features : Tensor, shape (N, 1024)
            Global average of the last feature map after ReLU: y = H(x) of Li & Zhu 2020.
        logits : Tensor, shape (N, label_count)
        """
        normalised = (images - self.image_mean) / self.image_std  # broadcasts 1 -> 3 channels
        maps = self.features(normalised.contiguous(memory_format=torch.channels_last))
        features = F.adaptive_avg_pool2d(F.relu(maps), 1).flatten(1)
        return features, self.classifier(features)


class LogitsOnly(nn.Module):
    """A network of (features, logits) as attack libraries expect one: [0,1] pixels in, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, 224, 224) in [0,1] -> logits, shape (N, label_count)."""
        logits: Tensor = self.network(images)[1]
        return logits
