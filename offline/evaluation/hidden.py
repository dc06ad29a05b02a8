"""Mixtures fitted on clean training films, toward which the feature constraint pulls hidden layers."""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import nn

from app.pipeline.gaussian import Gaussian

from ..attacks.constraint import FINAL, pooled_states
from ..attacks.density import LogMixture
from ..detectors import Observed
from ..detectors.mixture import fit_mixture
from .observing import Images, observe
from .store import Arrays
from .subject import LoadedBundle

#: The ends of the first three dense blocks; the gate's own features have the name ``FINAL``.
LAYERS: Final = ("features.denseblock1", "features.denseblock2", "features.denseblock3")
MODES: Final = 4
#: Added to the diagonal, as a share of a layer's mean variance: early layers vary a hundredfold less than late ones.
RIDGE_SHARE: Final = 1e-2


def observe_with_hidden(subject: LoadedBundle, levels: Images, title: str) -> tuple[Observed, Arrays]:
    """The network's outputs for images, and the spatial means of hidden layers in the same pass, shape (N, channels) each."""
    network: nn.Module = subject.victim.network
    seen: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    with pooled_states(network, list(LAYERS)) as states:

        def keep(*_: object) -> None:
            for layer in LAYERS:
                seen[layer].append(states[layer].cpu().numpy())

        hook = network.register_forward_hook(keep)
        try:
            observed = observe(network, levels, subject.device, title)
        finally:
            hook.remove()
    return observed, {layer: np.concatenate(values) for layer, values in seen.items()}


def modes_of(subject: LoadedBundle, states: Arrays, seed: int) -> dict[str, LogMixture]:
    """A mixture for each hidden layer (Yao et al. 2021), and the gate's density for the gate's features."""
    mixtures = {layer: _mixture(states[layer].astype(np.float64), seed) for layer in LAYERS}
    return {**mixtures, FINAL: LogMixture([subject.bundle.gate.density])}


def _mixture(values: np.ndarray, seed: int) -> LogMixture:
    """Modes that share a covariance, since a thousand films are too few to fit one for each mode."""
    modes = min(MODES, max(1, len(values) // 2))
    found = fit_mixture(values, modes, "tied", RIDGE_SHARE * float(values.var(0).mean()), seed)
    factor = np.linalg.cholesky(found.covariances_)
    return LogMixture([Gaussian(mean, factor) for mean in found.means_], found.weights_)
