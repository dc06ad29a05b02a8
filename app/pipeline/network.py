"""Tensor -> ``Outputs``: torchvision's DenseNet-121 with its last pooling layer exposed, and the gate's own network beside it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet121

from .outputs import Outputs

FEATURE_COUNT: Final = 1024
#: Features of a ``GateNetwork``: mean and deviation of each of the first dense block's 256 channels.
GATE_NETWORK_FEATURE_COUNT: Final = 512
GATE_NETWORK_LAYERS: Final = ("conv0", "norm0", "relu0", "pool0", "denseblock1")
#: Added to variances before the root, whose slope is infinite at 0.
TINY: Final = 1e-12
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
    watched : bool
        Whether there is a ``GateNetwork`` beside it. A bundle's files and manifest call that one ``watch``.
    """

    feature_count: Final = FEATURE_COUNT
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, label_count: int, watched: bool = False) -> None:
        super().__init__()
        densenet = densenet121(weights=None)
        self.features: nn.Module = densenet.features
        self.classifier = nn.Linear(FEATURE_COUNT, label_count)
        self.register_buffer("image_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.watch = GateNetwork() if watched else None
        # Convolutions on the CPU are about twice as fast when channels are innermost.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    @property
    def gate_feature_count(self) -> int:
        """The number of features that the gate sees."""
        return FEATURE_COUNT if self.watch is None else GATE_NETWORK_FEATURE_COUNT

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Shape (N, 1, 224, 224), float, in [0, 1] -> outputs.

        The features are the global average of the last feature map after ReLU, (N, 1024).
        """
        normalised = self._normalised(images)
        features, logits = self._answered(normalised)
        return Outputs(features, features if self.watch is None else self.watch(normalised), logits)

    def logits(self, images: Tensor) -> Tensor:
        """The logits of ``forward`` alone; the gate's network is not run."""
        return self._answered(self._normalised(images))[1]

    def _normalised(self, images: Tensor) -> Tensor:
        normalised = (images - self.image_mean) / self.image_std  # broadcasts 1 -> 3 channels
        return normalised.contiguous(memory_format=torch.channels_last)

    def _answered(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        features = F.adaptive_avg_pool2d(F.relu(self.features(normalised)), 1).flatten(1)
        return features, self.classifier(features)


class GateNetwork(nn.Module):
    """A network for the gate: stem and first dense block of a DenseNet-121 that was not hardened.

    A network that was hardened against small changes has learned not to see them, in any layer. A network that was
    not hardened sees them in its first block, long before they reach an answer.
    """

    def __init__(self) -> None:
        super().__init__()
        features = densenet121(weights=None).features
        self.features = nn.Sequential(OrderedDict((name, getattr(features, name)) for name in GATE_NETWORK_LAYERS))

    def forward(self, normalised: Tensor) -> Tensor:
        """Shape (N, 3, 224, 224), as the network's own first layer takes them -> (N, 512), see ``pooled``."""
        return pooled(self.features(normalised))


def pooled(maps: Tensor) -> Tensor:
    """Mean and standard deviation over places of each channel, shape (N, C, H, W) -> (N, 2 C).

    A small change of many pixels moves these first. An average over the places of the last layer alone loses it.
    """
    mean = maps.mean((2, 3), keepdim=True)
    deviation = ((maps - mean).square().mean((2, 3)) + TINY).sqrt()
    return torch.cat([mean.flatten(1), deviation], 1)


class LogitsOnly(nn.Module):
    """A network in the form that attack libraries expect: [0,1] pixels in, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, 224, 224) in [0,1] -> logits, shape (N, label_count)."""
        logits: Tensor = (
            self.network.logits(images) if isinstance(self.network, ChestNetwork) else self.network(images).logits
        )
        return logits
