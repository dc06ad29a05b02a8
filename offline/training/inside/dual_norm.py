"""Dual batch normalisation: attacked films have statistics and scales of their own in hardening.

Source: Xie et al., CVPR 2020, "Adversarial examples improve image recognition". The served network has only those of
clean films, and is a plain network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

from torch import Tensor, nn


class DualNorm(nn.Module):
    """Two normalisations that start alike; clean films meet one, attacked films the other."""

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
    """Put a ``DualNorm`` in the place of each batch normalisation of a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, DualNorm(child))
        else:
            with_dual_norms(child)


def with_clean_norms(module: nn.Module) -> None:
    """Take them out again: what is left is what clean films meet."""
    for name, child in module.named_children():
        if isinstance(child, DualNorm):
            setattr(module, name, child.clean)
        else:
            with_clean_norms(child)


def norms_of(network: nn.Module) -> list[DualNorm]:
    """All of a network; none of a plain one."""
    return [module for module in network.modules() if isinstance(module, DualNorm)]


@contextmanager
def meeting(norms: Sequence[DualNorm], *, attacked: bool, learning: bool) -> Iterator[None]:
    """Attacked films meet their own norms, within; learning, by the statistics of their batch, which are kept."""
    for norm in norms:
        norm.attacked = attacked
        (norm.of_attacked if attacked else norm.clean).train(learning)
    try:
        yield
    finally:
        for norm in norms:
            norm.attacked = False
            norm.eval()
