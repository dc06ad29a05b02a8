"""What the feature constraint pulls hidden layers toward: mixtures fitted on clean training films."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn

from app.pipeline.gaussian import Gaussian

from ..attacks.constraint import FINAL, pooled_states
from ..attacks.density import LogMixture
from ..detectors.mixture import fit_mixture
from .observing import Images, batches
from .store import Arrays, Outcome
from .subject import Subject

#: The ends of the first three dense blocks; the fourth's is what the gate itself sees, under ``FINAL``.
LAYERS: Final = ("features.denseblock1", "features.denseblock2", "features.denseblock3")
MODES: Final = 4
#: Added to the diagonal, as a share of a layer's mean variance: early layers vary a hundredfold less than late ones.
RIDGE_SHARE: Final = 1e-2


def hidden_states_stage(subject: Subject, levels: Images) -> Outcome:
    """Spatial means of the hidden layers on clean films, a (N, channels) array for each layer."""
    network: nn.Module = subject.bundle.network
    seen: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    with torch.inference_mode(), pooled_states(network, list(LAYERS)) as states:
        for images in batches(levels, subject.device, "hidden states"):
            network(images)
            for layer in LAYERS:
                seen[layer].append(states[layer].cpu().numpy())
    return {}, {layer: np.concatenate(values) for layer, values in seen.items()}


def modes_of(subject: Subject, states: Arrays, seed: int) -> dict[str, LogMixture]:
    """A mixture for each hidden layer (Yao et al. 2021), and the served Gaussian for the features that the gate sees."""
    mixtures = {layer: _mixture(states[layer].astype(np.float64), seed) for layer in LAYERS}
    return {**mixtures, FINAL: LogMixture([subject.bundle.gaussian])}


def _mixture(values: np.ndarray, seed: int) -> LogMixture:
    """Modes that share a covariance, since a thousand films do not carry one for each."""
    modes = min(MODES, max(1, len(values) // 2))
    found = fit_mixture(values, modes, "tied", RIDGE_SHARE * float(values.var(0).mean()), seed)
    factor = np.linalg.cholesky(found.covariances_)
    return LogMixture([Gaussian(mean, factor) for mean in found.means_], found.weights_)
