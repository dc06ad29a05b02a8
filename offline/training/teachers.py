"""Runs that teach another run: their mean answer is its target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.pipeline.outputs import Outputs

from ..run import Run, weights_sha256


class Together(nn.Module):
    """Several networks that answer as one (Lakshminarayanan et al., NeurIPS 2017, who average probabilities).

    This class averages logits, not probabilities, since the likeness term and the ridge regression use logits.

    Parameters
    ----------
    networks : sequence of Module
        Images -> ``Outputs``, at least one.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Shape (N, 1, 224, 224) in [0,1] -> features of the first network, and the mean logits of all."""
        outputs: list[Outputs[Tensor]] = [network(images) for network in self.networks]
        return outputs[0]._replace(logits=torch.stack([each.logits for each in outputs]).mean(0))


def teacher_of(runs: Sequence[Run]) -> nn.Module:
    """The network of a single run, or the networks of several as one; in eval mode, without gradients.

    Raises
    ------
    FilmsError
        A run has no trained network.
    """
    networks = [run.network() for run in runs]
    return networks[0] if len(networks) == 1 else Together(networks).eval().requires_grad_(False)


def named(runs: Sequence[Run]) -> str:
    """The first digits of the networks' digests, for a record: "networks 1f0c..., 2ab4... and 77e1..."."""
    digests = [weights_sha256(run.network())[:12] for run in runs]
    if len(digests) == 1:
        return f"network {digests[0]}"
    return f"networks {', '.join(digests[:-1])} and {digests[-1]}"
