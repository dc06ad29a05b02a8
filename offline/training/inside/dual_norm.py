"""Dual batch normalisation: in hardening, attacked films have their own statistics and scales.

Source: Xie et al., CVPR 2020, "Adversarial examples improve image recognition". The served network has only the statistics and
scales of clean films, and is a plain network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

from torch import Tensor, nn


class DualNorm(nn.Module):
    """Two normalisations that start alike: one for clean films, the other for attacked films."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.clean, self.of_attacked = norm, deepcopy(norm)
        self.attacked = False

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, C, H, W) -> the same."""
        norm = self.of_attacked if self.attacked else self.clean
        normed: Tensor = norm(maps)
        return normed


def with_dual_norms(module: nn.Module) -> None:
    """Replace each batch normalisation of a module by a ``DualNorm``."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, DualNorm(child))
        else:
            with_dual_norms(child)


def with_clean_norms(module: nn.Module) -> None:
    """Replace each ``DualNorm`` by its normalisation for clean films."""
    for name, child in module.named_children():
        if isinstance(child, DualNorm):
            setattr(module, name, child.clean)
        else:
            with_clean_norms(child)


def norms_of(network: nn.Module) -> list[DualNorm]:
    """All ``DualNorm`` layers of a network; a plain network has none."""
    return [module for module in network.modules() if isinstance(module, DualNorm)]


@contextmanager
def meeting(norms: Sequence[DualNorm], *, attacked: bool, learning: bool) -> Iterator[None]:
    """Select the normalisation for attacked or for clean films. If `learning`, it uses and stores the statistics of the batch."""
    for norm in norms:
        norm.attacked = attacked
        (norm.of_attacked if attacked else norm.clean).train(learning)
    try:
        yield
    finally:
        for norm in norms:
            norm.attacked = False
            norm.eval()
