"""Measure how far an attacker moves each logit. A band of this width keeps calls from being turned into their opposites.

The attacker ascends the logit alone and ignores the gate. An attacker who must also pass the gate moves it no further, so the
measurement bounds attackers who know the gate too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor, nn
from tqdm import tqdm

from ..attacks.posting import as_posted, posted_within, uniform_in_ball

EPSILON: Final = 2 / 255
#: The bound exceeds the movement of this share of films, with this confidence.
SHARE: Final = 0.95
CONFIDENCE: Final = 0.95
BATCH: Final = 8
#: For each finding and direction, this many films get all steps: those that the first step moves furthest. They set the bound.
FURTHEST: Final = 5
STEPS: Final = 8


@dataclass(frozen=True)
class Movement:
    """The movement of each finding's logit over films.

    Attributes
    ----------
    films : ndarray, shape (N, L), float64
        The furthest that the logit moved, up or down.
    bounds : ndarray, shape (L,), float64
        With 95 % confidence, 95 % of similar films move less far.
    """

    films: NDArray[np.float64]
    bounds: NDArray[np.float64]


def measure_movement(
    network: nn.Module,
    images: Tensor,
    device: torch.device,
    kept: Path,
    epsilon: float = EPSILON,
    furthest: int = FURTHEST,
) -> Movement:
    """Attack each finding of each image, up and down. Earlier measurements in `kept` are reused.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), in [0, 1]
        Clean images that the network was not trained on.
    kept : Path
        A folder for this network and these images. A finished finding's file is written at once, so that a killed run resumes.
    furthest : int
        Number of films that get all steps. With 0 each film gets one step, which bounds nothing.
    """
    kept.mkdir(parents=True, exist_ok=True)
    clean = as_posted(images)
    with torch.no_grad():
        before = torch.cat([_logits(network, part.to(device)) for part in torch.split(clean, BATCH)])
    columns = []
    with tqdm(total=2 * before.shape[1], desc="moving logits", unit="goal") as progress:
        for finding in range(before.shape[1]):
            path = kept / f"movement-{finding}.npy"
            if not path.is_file():
                both = []
                for sign in (1.0, -1.0):
                    both.append(_furthest(network, clean, before[:, finding], finding, sign, device, epsilon, furthest))
                    progress.update(1)
                np.save(path, np.maximum(*both))
            else:
                progress.update(2)
            columns.append(np.load(path))
    films = np.stack(columns, axis=1)
    return Movement(films, upper_bound(films))


def upper_bound(films: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distribution-free bound of a quantile: the r-th smallest of n exceeds it with probability P(Binomial(n, .95) < r).

    Shape (N, L) -> (L,). Fewer than 59 films give no bound of 95 % confidence; then the largest value is used.
    """
    count = len(films)
    rank = int(binom.ppf(CONFIDENCE, count, SHARE)) + 1
    return np.asarray(np.sort(films, axis=0)[min(rank, count) - 1])


def _furthest(
    network: nn.Module,
    clean: Tensor,
    before: Tensor,
    finding: int,
    sign: float,
    device: torch.device,
    epsilon: float,
    count: int,
) -> NDArray[np.float64]:
    """How far each image's logit moves in one direction, shape (N,): one step for all images, all steps for the furthest."""

    def moved(attacked: Tensor, index: Tensor) -> Tensor:
        posted = posted_within(attacked, clean[index].to(device), epsilon)
        with torch.no_grad():
            return sign * (_logits(network, posted)[:, finding].cpu() - before[index])

    def gradient(images: Tensor) -> Tensor:
        leaf = images.detach().requires_grad_(True)
        (found,) = torch.autograd.grad(sign * _logits(network, leaf)[:, finding].sum(), leaf)
        return found.sign()

    furthest = torch.zeros(len(clean))
    for index in torch.split(torch.arange(len(clean)), BATCH):
        images = clean[index].to(device)
        furthest[index] = moved((images + epsilon * gradient(images)).clamp(0, 1), index)
    for index in torch.split(furthest.argsort(descending=True)[:count], BATCH):
        images = clean[index].to(device)
        for start in (images, uniform_in_ball(images, epsilon, finding)):
            attacked = start
            for step in range(STEPS):
                size = epsilon * max(0.5 ** (step * 4 // STEPS), 1 / 8)
                attacked = attacked + size * gradient(attacked)
                attacked = (images + (attacked - images).clamp(-epsilon, epsilon)).clamp(0, 1)
                furthest[index] = torch.maximum(furthest[index], moved(attacked, index))
    return furthest.clamp_min(0).double().numpy()


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(images).logits
    return logits
