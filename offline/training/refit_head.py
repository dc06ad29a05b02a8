"""Fit a network's last layer again, to other networks' answers: hardening harms it more than the features below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.films import Film, FilmsError, of_split
from ..gate.features import reuse_or_extract
from ..gate.fit import moments_of
from ..gate.moments import shrink_by_lambda
from ..run import Run
from .teachers import named

Array = NDArray[np.float64]

#: A round number; it loses less than .005 of mean AUROC on val films (research/README.md).
RIDGE: Final = 0.1


def refit_head(
    run: Run,
    teachers: Sequence[Run],
    films: list[Film],
    output: Run,
    ridge: float,
    device: torch.device,
    workers: int,
) -> Path:
    """Fit the last layer of `run` to the mean logits of `teachers` on the training films. Writes a run; returns its weights file.

    The features stay, and with them most of the gain of hardening. A layer that learned while its features were still changing
    does not read them in the best way (Kirichenko et al., ICLR 2023, arXiv 2204.02937). A network's logits say more about a film
    than its labels do (Hinton et al. 2015, arXiv 1503.02531).

    Parameters
    ----------
    teachers : sequence of Run
        One run, or several whose logits are averaged.
    ridge : float
        As in ``ridge_layer``; a larger ridge is harder, and less like the teacher.

    Raises
    ------
    FilmsError
        `run` or a teacher has no trained network, there is no teacher, or the ridge is not over 0.
    """
    if not ridge > 0:
        raise FilmsError(f"--ridge {ridge:g} is not over 0")
    if not teachers:
        raise FilmsError("a last layer is learned from the answers of a run; give --teacher")
    network = run.network()
    train_films = of_split(films, "train")
    learning = reuse_or_extract(network, train_films, output, "relearn-features", device, workers)
    logits = []
    for number, teacher in enumerate(teachers, start=1):
        name = "relearn-teacher" + (f"-{number}" if number > 1 else "")
        logits.append(reuse_or_extract(teacher.network(), train_films, output, name, device, workers).logits)
    taught = logits[0] if len(logits) == 1 else np.mean(logits, axis=0)
    weight, bias = ridge_layer(learning.features, taught, ridge)
    weights = network.state_dict()
    weights["classifier.weight"] = torch.from_numpy(weight).float()
    weights["classifier.bias"] = torch.from_numpy(bias).float()
    then = f"its last layer learned from {named(teachers)} (ridge {ridge:g})"
    return run.save_successor(output, weights, then)


def ridge_layer(features: NDArray[np.float32], logits: NDArray[np.float32], ridge: float) -> tuple[Array, Array]:
    """Ridge regression of logits on features (Hoerl & Kennard 1970); the bias is not penalised.

    Parameters
    ----------
    features : ndarray, shape (N, d)
    logits : ndarray, shape (N, L)
    ridge : float
        In units of the features' mean variance.

    Returns
    -------
    weight : ndarray, shape (L, d)
    bias : ndarray, shape (L,)
    """
    moments = moments_of(features)
    covariance = moments.covariance
    mean = logits.mean(0, dtype=np.float64)
    together = (features - moments.mean).T @ (logits - mean) / len(features)
    penalty = ridge * float(np.trace(covariance)) / len(covariance)
    weight = np.linalg.solve(shrink_by_lambda(covariance, penalty), together).T
    return weight, mean - weight @ moments.mean
