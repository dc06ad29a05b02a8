"""The network's function with fewer operations: the backends compute features and logits with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .network import FEATURE_COUNT, ChestNetwork, GateNetwork, pooled
from .outputs import Outputs


class FoldedNetwork(nn.Module):
    """A ``ChestNetwork`` with every constant multiplied out (in float64, once), for inference alone.

    In exact arithmetic it is the same function; in float32 its features differ by rounding, as the network's own
    differ from exact ones. The following is folded:

    - the image's mean and deviation and the three equal channels into the first convolution. A second channel of ones
      carries the mean, since the convolution pads with zeros after normalisation, and so sees no mean at the border;
    - each batch normalisation that follows a convolution into that convolution;
    - each that precedes a ReLU and a 1x1 convolution, see ``ClampedConvolution``;
    - a transition's mean over 2x2 places goes before its 1x1 convolution, which then runs on a quarter of the places.

    Parameters
    ----------
    network : ChestNetwork
        In evaluation mode; it is not changed, and shares no weights.
    """

    blocks: Any  # of DenseBlock; torch's ModuleList has no type of its items
    transitions: Any  # of ClampedConvolution
    scale: Tensor
    shift: Tensor

    def __init__(self, network: ChestNetwork) -> None:
        super().__init__()
        parts: dict[str, Any] = dict(network.features.named_children())
        self.stem = _stem(network, parts["conv0"], parts["norm0"])
        self.watch = FoldedGateNetwork(network, network.watch) if network.watch is not None else None
        self.blocks = nn.ModuleList(DenseBlock(parts[f"denseblock{number}"]) for number in (1, 2, 3, 4))
        self.transitions = nn.ModuleList(
            ClampedConvolution(parts[f"transition{number}"].norm, parts[f"transition{number}"].conv)
            for number in (1, 2, 3)
        )
        scale, shift = _scale_and_shift(parts["norm5"])
        self.register_buffer("scale", scale.float().view(1, -1, 1, 1))
        self.register_buffer("shift", shift.float().view(1, -1, 1, 1))
        self.classifier = nn.Linear(FEATURE_COUNT, network.classifier.out_features)
        self.classifier.load_state_dict(network.classifier.state_dict())
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Shape (N, 1, 224, 224), float32, in [0, 1] -> outputs, as of the network."""
        inputs = torch.cat([images, torch.ones_like(images)], 1).contiguous(memory_format=torch.channels_last)
        maps = self.blocks[0](F.max_pool2d(F.relu_(self.stem(inputs)), 3, stride=2, padding=1))
        for transition, block in zip(self.transitions, self.blocks[1:], strict=True):
            maps = block(transition.convolution(F.avg_pool2d(transition.clamped(maps), 2)))
        features = F.relu_(torch.addcmul(self.shift, maps, self.scale)).mean((2, 3))
        logits = self.classifier(features)
        return Outputs(features, features if self.watch is None else self.watch(inputs), logits)


class FoldedGateNetwork(nn.Module):
    """A ``GateNetwork``, folded in the same way."""

    def __init__(self, network: ChestNetwork, watch: GateNetwork) -> None:
        super().__init__()
        parts: dict[str, Any] = dict(watch.features.named_children())
        self.stem = _stem(network, parts["conv0"], parts["norm0"])
        self.block = DenseBlock(parts["denseblock1"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Images and ones, shape (N, 2, 224, 224) -> (N, 512)."""
        return pooled(self.block(F.max_pool2d(F.relu_(self.stem(inputs)), 3, stride=2, padding=1)))


class ClampedConvolution(nn.Module):
    """Batch normalisation, ReLU and a 1x1 convolution, as one clamp and one convolution.

    relu(s x + b) is s clamp(x, -b/s, inf) + b for s > 0, and s clamp(x, -inf, -b/s) + b for s < 0. The convolution takes
    in s and b, since it has no border; and the batch normalisation that follows it, if there is one.
    """

    low: Tensor
    high: Tensor

    def __init__(self, before: nn.BatchNorm2d, convolution: nn.Conv2d, after: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        scale, shift = _scale_and_shift(before)
        # A channel with a scale near zero is a constant; its bound would overflow float32.
        constant = scale.abs() * 1e30 <= shift.abs()
        scale = torch.where(constant, 0.0, scale)
        bound = torch.where(constant, 0.0, -shift / scale)
        shift = torch.where(constant, shift.clamp(min=0.0), shift)
        self.register_buffer("low", torch.where(scale < 0, -torch.inf, bound).float().view(1, -1, 1, 1))
        self.register_buffer("high", torch.where(scale > 0, torch.inf, bound).float().view(1, -1, 1, 1))
        weight = convolution.weight.double()
        bias = weight.flatten(1) @ shift
        weight = weight * scale.view(1, -1, 1, 1)
        if after is not None:
            scale, shift = _scale_and_shift(after)
            weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
        self.convolution = _convolution(weight, bias, convolution)

    def clamped(self, maps: Tensor) -> Tensor:
        """The input of the convolution: `maps`, shape (N, C, rows, columns), clamped to this layer's bounds."""
        return torch.clamp(maps, self.low, self.high)


class DenseBlock(nn.Module):
    """Each layer adds its channels to those of all before it, in one buffer: joining them anew would copy all each time."""

    narrow: Any  # of ClampedConvolution, 1x1
    wide: Any  # of nn.Conv2d, 3x3

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        layers: list[Any] = list(block.children())
        self.narrow = nn.ModuleList(ClampedConvolution(layer.norm1, layer.conv1, layer.norm2) for layer in layers)
        self.wide = nn.ModuleList(
            _convolution(layer.conv2.weight.double(), torch.zeros(layer.conv2.out_channels), layer.conv2)
            for layer in layers
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, C, rows, columns) -> (N, C + sum of the layers' channels, rows, columns)."""
        count, filled, rows, columns = maps.shape
        channels = filled + sum(wide.out_channels for wide in self.wide)
        grown = torch.empty(
            (count, channels, rows, columns), dtype=maps.dtype, device=maps.device, memory_format=torch.channels_last
        )
        grown[:, :filled] = maps
        for narrow, wide in zip(self.narrow, self.wide, strict=True):
            added = wide(F.relu_(narrow.convolution(narrow.clamped(grown[:, :filled]))))
            grown[:, filled : filled + wide.out_channels] = added
            filled += wide.out_channels
        return grown


def _stem(network: ChestNetwork, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The first convolution and its normalisation, for the channels (grey, ones)."""
    weight = convolution.weight.double() / network.image_std.double()
    weight = torch.stack([weight.sum(1), -(weight * network.image_mean.double()).sum(1)], 1)
    scale, shift = _scale_and_shift(norm)
    return _convolution(weight * scale.view(-1, 1, 1, 1), shift, convolution)


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """A batch normalisation in evaluation is scale x + shift; each of shape (C,), float64."""
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _convolution(weight: Tensor, bias: Tensor, like: Any) -> nn.Conv2d:
    made = nn.Conv2d(weight.shape[1], weight.shape[0], like.kernel_size, like.stride, like.padding)
    made.load_state_dict({"weight": weight, "bias": bias})
    return made
