"""The weighted mean of two runs' weights, or beyond: along the line from a network to what it became, accuracy and hardness
can be traded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch

from ..data.films import FilmsError
from ..gate.features import weights_sha256
from ..gate.fit import load_network
from .train import RECORD, save_successor

#: More is taken for a slip; up to 2 was tried (research/README.md).
FURTHEST: Final = 3.0


def average(run: Path, other: Path, share: float, output: Path) -> Path:
    """``(1 - share) run + share other``, tensor by tensor (Wortsman et al., CVPR 2022, arXiv 2109.01903).

    It is a network that works only where one was trained on from the other: then the loss is low all along the line, and a
    way beyond: what training changed, taken more than whole (Ilharco et al., ICLR 2023, arXiv 2212.04089), goes on doing
    what it did.

    Parameters
    ----------
    run, other, output : Path
        Folders of runs; `output` is made, as one like those of ``train``, to be fitted.
    share : float
        Of `other`, from 0 to ``FURTHEST``; over 1 lies beyond it.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    FilmsError
        No trained network in one of them, or one has a watch and the other has none.
    """
    if not 0 <= share <= FURTHEST:
        raise FilmsError(f"--share {share:g} is not between 0 and {FURTHEST:g}")
    first, second = load_network(run), load_network(other)
    weights, others = first.state_dict(), second.state_dict()
    if weights.keys() != others.keys():
        raise FilmsError(f"of {run} and {other} one has a watch and the other has none")
    if len({json.loads((one / RECORD).read_text())["data"] for one in (run, other)}) > 1:
        raise FilmsError(f"{run} and {other} were trained on different films")
    mean = {
        name: torch.lerp(value, others[name], share) if value.is_floating_point() else value
        for name, value in weights.items()
    }
    return save_successor(other, mean, f"averaged with network {weights_sha256(first)[:12]} at {share:g}", output)
