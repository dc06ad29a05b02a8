"""A DenseNet-121 with a rival inside, made from a trained DenseNet-121 or read from a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork
from offline.data.films import Film, of_split
from offline.data.loading import load_film
from offline.run import PLAIN, Run, is_watched

from .blocks import Denoising, NonLocalContext, RadialBasisMapping
from .dual_norm import with_clean_norms, with_dual_norms

#: Layers after which a block may stand, and their channel counts.
_BETWEEN: Final = {"transition1": 128, "transition2": 256, "transition3": 512}
_AFTER: Final = {"denseblock1": 256, "denseblock2": 512, "denseblock3": 1024, "denseblock4": 1024}
#: Without the first block: the median of its map of 56 x 56, the largest, would need nine copies of it in memory.
_AFTER_LATER: Final = {name: count for name, count in _AFTER.items() if name != "denseblock1"}
#: Number of training films on whose places the centres start.
_STARTING: Final = 16


@dataclass(frozen=True)
class Inside:
    """A rival defence inside a network.

    Attributes
    ----------
    name : str
    title : str
        Its name in a table.
    where : mapping
        Layer of ``features`` -> its channels; a block stands after each.
    block : callable or None
        Channels -> block. None: dual batch normalisation, which stands in every layer.
    """

    name: str
    title: str
    where: Mapping[str, int]
    block: Callable[[int], nn.Module] | None

    @property
    def arch(self) -> str:
        """The architecture's name in a run's record. With dual normalisation a run stores a plain network."""
        return PLAIN if self.block is None else f"{PLAIN}+{self.name}"

    def make(self, network: ChestNetwork, films: list[Film]) -> ChestNetwork:
        """A copy of the network with the rival inside, which answers as before. Centres start on training films."""
        made = widened(self, deepcopy(network))
        if any(isinstance(layer, RadialBasisMapping) for layer in made.features.children()):
            train = of_split(films, "train")
            chosen = [train[i * len(train) // _STARTING] for i in range(_STARTING)] if len(train) > _STARTING else train
            _start(made, torch.stack([load_film(film.path) for film in chosen]).to(made.image_mean.device))
        return made

    def kept(self, network: nn.Module) -> nn.Module:
        """The network that a run stores. Dual normalisations are removed, which leaves a plain network."""
        if self.block is not None:
            return network
        plain = deepcopy(network)
        with_clean_norms(plain)
        return plain


INSIDE: Final[Mapping[str, Inside]] = MappingProxyType(
    {
        one.name: one
        for one in (
            Inside("radial-basis", "radial basis mapping between the blocks", _BETWEEN, RadialBasisMapping),
            Inside("non-local", "non-local context between the blocks", _BETWEEN, NonLocalContext),
            Inside("denoising-mean", "features denoised by non-local means", _AFTER, lambda c: Denoising(c, "mean")),
            Inside("denoising-median", "features denoised by medians", _AFTER_LATER, lambda c: Denoising(c, "median")),
            Inside("dual-norm", "dual batch normalisation", {}, None),
        )
    }
)


def widened(inside: Inside, network: ChestNetwork) -> ChestNetwork:
    """Add new blocks or dual normalisations to the network, which then answers as before."""
    if inside.block is None:
        with_dual_norms(network.features)
        return network
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, layer in network.features.named_children():
            layers[name] = layer
            if name in inside.where:
                layers[f"after_{name}"] = inside.block(inside.where[name])
    network.features = nn.Sequential(layers)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network.to(network.image_mean.device)


@torch.no_grad()
def _start(network: ChestNetwork, images: Tensor) -> None:
    maps = (images - network.image_mean) / network.image_std
    for layer in network.features.children():
        if isinstance(layer, RadialBasisMapping):
            layer.start_at(maps)
        maps = layer(maps)


def load_inside(run: Run) -> ChestNetwork:
    """The network of a run, plain or with a rival inside, in eval mode.

    Raises
    ------
    FilmsError
        The run has no network, or its architecture is unknown.
    """
    arch = run.arch()
    by_arch = {inside.arch: inside for inside in INSIDE.values() if inside.block is not None}
    if arch not in by_arch:
        return run.network()
    weights = run.tensors()
    network = widened(by_arch[arch], ChestNetwork(len(LABELS), is_watched(weights)))
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
