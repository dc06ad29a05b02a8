"""Attack the film at its own size: gradients pass through the service's resize."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from app.pipeline.image import INPUT_SIDE
from app.pipeline.outputs import Outputs

from .judging import Victim


def resized(images: Tensor) -> Tensor:
    """``app.pipeline.preprocess.to_tensor`` for a batch, differentiable, and equal to it to the bit.

    Parameters
    ----------
    images : Tensor, shape (N, 1, rows, columns), float32, in [0, 1]

    Returns
    -------
    Tensor, shape (N, 1, 224, 224), float32, in [0, 1]
    """
    if images.shape[-2:] != (INPUT_SIDE, INPUT_SIDE):
        images = F.interpolate(
            images, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True, align_corners=False
        )
    return images.clamp(0.0, 1.0)


class NativeNetwork(nn.Module):
    """A network that takes films at any size, as the service does: (N, 1, rows, columns) -> ``Outputs``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Shape (N, 1, rows, columns) in [0, 1] -> outputs."""
        outputs: Outputs[Tensor] = self.network(resized(images))
        return outputs


def at_native_size(victim: Victim) -> Victim:
    """The same victim for films at their own size: every attack then rounds, and keeps its budget, at that size.

    An antialiased resize averages several pixels into one, so that changes at 1024x1024 reach the network in finer steps than
    changes at 224x224. The feature constraint's layers then have the prefix ``network.``.
    """
    return replace(victim, network=NativeNetwork(victim.network))
