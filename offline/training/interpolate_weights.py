"""The weighted mean of two runs' weights, or beyond: along the line from a network to what it became, accuracy and hardness
can be traded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from ..data.films import FilmsError
from ..run import Run, weights_sha256

#: More is taken for a slip; up to 2 was tried (research/README.md).
FURTHEST: Final = 3.0


def interpolate_weights(run: Run, other: Run, share: float, output: Run) -> Path:
    """``(1 - share) run + share other``, tensor by tensor (Wortsman et al., CVPR 2022, arXiv 2109.01903); returns its file.

    It is a network that works only where one was trained on from the other: then the loss is low all along the line, and a
    way beyond: what training changed, taken more than whole (Ilharco et al., ICLR 2023, arXiv 2212.04089), goes on doing
    what it did.

    Parameters
    ----------
    run, other, output : Run
        `output` becomes one like those of ``train``, to be fitted.
    share : float
        Of `other`, from 0 to ``FURTHEST``; over 1 lies beyond it.

    Raises
    ------
    FilmsError
        No trained network in one of them, or one has a watch and the other has none.
    """
    if not 0 <= share <= FURTHEST:
        raise FilmsError(f"--share {share:g} is not between 0 and {FURTHEST:g}")
    first, second = run.network(), other.network()
    weights, others = first.state_dict(), second.state_dict()
    if weights.keys() != others.keys():
        raise FilmsError(f"of {run} and {other} one has a watch and the other has none")
    if run.training.read()["data"] != other.training.read()["data"]:
        raise FilmsError(f"{run} and {other} were trained on different films")
    mean = {
        name: torch.lerp(value, others[name], share) if value.is_floating_point() else value
        for name, value in weights.items()
    }
    return other.save_successor(output, mean, f"averaged with network {weights_sha256(first)[:12]} at {share:g}")
