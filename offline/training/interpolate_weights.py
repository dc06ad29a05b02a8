"""The weighted mean of two runs' weights, or an extrapolation: accuracy can be traded against hardness along the line from a
network to its hardened successor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from ..data.films import FilmsError
from ..run import Run, weights_sha256

#: A larger share is taken for a typing error; shares up to 2 were tried (research/README.md).
FURTHEST: Final = 3.0


def interpolate_weights(run: Run, other: Run, share: float, output: Run) -> Path:
    """``(1 - share) run + share other``, tensor by tensor (Wortsman et al., CVPR 2022, arXiv 2109.01903). Returns its file.

    The result works only if one network was trained on from the other: then the loss is low all along the line, and some way
    beyond it. A share over 1 applies the training's change more than fully, with more of its effect (Ilharco et al., ICLR 2023,
    arXiv 2212.04089).

    Parameters
    ----------
    run, other, output : Run
        `output` becomes a run like those of ``train``, still to be fitted.
    share : float
        The weight of `other`, from 0 to ``FURTHEST``; over 1 extrapolates beyond it.

    Raises
    ------
    FilmsError
        The share is out of range, `run` or `other` has no trained network, only one has a watch, or their films differ.
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
