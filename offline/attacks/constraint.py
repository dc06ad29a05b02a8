"""The hierarchical feature constraint: an attack that pulls hidden features into the crowd of clean ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from .adaptive import weighted
from .density import LogMixture
from .goals import Target
from .judging import AttackResult, Victim
from .search import Probe, Rule, SearchOptions

#: Key of the modes for the final features, which the gate uses.
FINAL: Final = "final"


@contextmanager
def pooled_states(network: nn.Module, layers: list[str]) -> Iterator[dict[str, Tensor]]:
    """Watch named submodules; the dict holds the spatial means of their outputs in the latest forward pass.

    Parameters
    ----------
    layers : list of str
        As in ``network.named_modules()``, e.g. ``features.denseblock3``.

    Yields
    ------
    dict
        Layer -> Tensor, shape (N, channels); part of the graph.

    Raises
    ------
    ValueError
        The network has no such layer.
    """
    modules, states, hooks = dict(network.named_modules()), dict[str, Tensor](), []
    missing = [layer for layer in layers if layer not in modules]
    if missing:
        raise ValueError(f"the network has no layer {', '.join(missing)}")

    def watch(layer: str) -> None:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            states[layer] = output.flatten(2).mean(2) if output.ndim > 2 else output

        hooks.append(modules[layer].register_forward_hook(hook))

    for layer in layers:
        watch(layer)
    try:
        yield states
    finally:
        for handle in hooks:
            handle.remove()


def feature_constraint(
    victim: Victim,
    images: Tensor,
    target: Target,
    options: SearchOptions,
    modes: Mapping[str, LogMixture] | None = None,
) -> AttackResult:
    """Hierarchical feature constraint (Yao et al., MICCAI 2021, and IEEE TMI 2023, arXiv 2312.01679).

    Ascends margin + weight * sum over layers of log density under the likeliest clean mode. Each term is divided by the layer's
    number of features, so that no layer dominates. Unlike the joint loss it has no hinge: it pulls features toward the mode
    even when the gate would accept, which passes gates that the attacker does not know. The weight is searched for each image.

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), on the 8-bit grid of [0, 1]
    modes : Mapping or None
        Layer (see ``pooled_states``), or ``FINAL`` for the final features, -> mixture fitted on clean images.
        None: the gate's density, as the one mode of the final features.
    """
    served = {FINAL: LogMixture([victim.gate.density])}
    mixtures = {
        layer: mixture.to(victim.operating_points.device)
        for layer, mixture in (served if modes is None else modes).items()
    }
    hidden = [layer for layer in mixtures if layer != FINAL]
    with pooled_states(victim.network, hidden) as states:

        def rule_of(weights: Tensor) -> Rule:
            def rule(probe: Probe) -> Tensor:
                pull = torch.zeros_like(probe.excess)
                for layer, mixture in mixtures.items():
                    features = probe.gate_features if layer == FINAL else states[layer]
                    pull = pull + mixture.nearest_mode(features) / features.shape[1]
                return probe.gradient(probe.margin.double() + weights[probe.index] * pull)

            return rule

        return weighted(victim, images, target, options, rule_of)
