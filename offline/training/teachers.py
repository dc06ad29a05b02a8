"""Runs that teach another: the answer that is wanted of it is the mean of theirs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.pipeline.outputs import Outputs

from ..run import Run, weights_sha256


class Together(nn.Module):
    """Several networks that answer as one (Lakshminarayanan et al., NeurIPS 2017, who average probabilities).

    Logits are averaged here, not probabilities: they are what a likeness and a ridge regression are measured in.

    Parameters
    ----------
    networks : sequence of Module
        Images -> ``Outputs``, at least one.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Shape (N, 1, 224, 224) in [0,1] -> features of the first, and the mean of all logits."""
        outputs: list[Outputs[Tensor]] = [network(images) for network in self.networks]
        return outputs[0]._replace(logits=torch.stack([each.logits for each in outputs]).mean(0))


def teacher_of(runs: Sequence[Run]) -> nn.Module:
    """The network of one run as it is, or those of several together; in eval mode, without gradients.

    Raises
    ------
    FilmsError
        No trained network in one of them.
    """
    networks = [run.network() for run in runs]
    return networks[0] if len(networks) == 1 else Together(networks).eval().requires_grad_(False)


def named(runs: Sequence[Run]) -> str:
    """Their networks by the first digits of their digests, for a record: "network 1f0c..., 2ab4... and 77e1..."."""
    digests = [weights_sha256(run.network())[:12] for run in runs]
    if len(digests) == 1:
        return f"network {digests[0]}"
    return f"networks {', '.join(digests[:-1])} and {digests[-1]}"
