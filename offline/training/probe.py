"""Fit the last layer before training begins: a random last layer would spoil the backbone's first steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.films import Film, targets_of
from ..data.loading import FilmDataset
from .optimisation import autocast
from .substitute import Trainable

if TYPE_CHECKING:
    from .train import TrainOptions

#: Weight of the penalty: squared weights of standardised features, summed over features and averaged over findings.
PENALTY: Final = 0.02
BATCH: Final = 32
ITERATIONS: Final = 200
#: Least frequency of a finding: if no film or every film had it, its bias would begin at infinity.
RAREST: Final = 1e-3


def probe(
    network: Trainable, films: list[Film], pixels: Tensor | None, options: TrainOptions, device: torch.device
) -> None:
    """Fit batch statistics, then the last layer, on unchanged films. The backbone's weights stay.

    A linear probe before fine-tuning keeps the backbone's knowledge (Kumar et al., ICLR 2022, arXiv 2202.10054). Runs that
    begin at the same probe end in one basin, so that their weights can be averaged (Wortsman et al., ICML 2022, arXiv
    2203.05482). The statistics come first, since the backbone did not learn from X-rays. The same films give the same start
    with every seed.
    """
    order = torch.randperm(len(films), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [
        films[index] for index in order
    ]  # else the films of one patient would fill a batch and set its statistics
    dataset = FilmDataset(shuffled, pixels=None if pixels is None else pixels[order])
    batches = DataLoader(dataset, BATCH, num_workers=options.workers)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the plain mean over all batches
    network.train()
    _features(network, batches, options, device, "fitting batch statistics")
    for module, momentum in zip(norms, kept, strict=True):
        module.momentum = momentum
    network.eval()
    features = _features(network, batches, options, device, "fitting the last layer")
    weight, bias = logistic_layer(features, torch.from_numpy(targets_of(shuffled)).float())
    with torch.no_grad():
        network.classifier.weight.copy_(weight)
        network.classifier.bias.copy_(bias)


def _features(
    network: Trainable,
    batches: DataLoader[tuple[Tensor, Tensor]],
    options: TrainOptions,
    device: torch.device,
    title: str,
) -> Tensor:
    found = []
    with torch.no_grad(), autocast(device, options.precision):
        for images, _ in tqdm(batches, desc=title, unit="batch"):
            found.append(network(images.to(device)).features.float().cpu())
    return torch.cat(found)


def logistic_layer(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fit one logistic regression for each finding, with an L2 penalty, by L-BFGS.

    Parameters
    ----------
    features : Tensor, shape (N, d)
    targets : Tensor, shape (N, L), 0 or 1

    Returns
    -------
    weight : Tensor, shape (L, d)
    bias : Tensor, shape (L,)
    """
    mean, deviation = features.mean(0), features.std(0, unbiased=False) + 1e-3
    standard = (features - mean) / deviation
    weight = torch.zeros(targets.shape[1], features.shape[1], requires_grad=True)
    bias = torch.logit(targets.mean(0).clamp(RAREST, 1 - RAREST)).requires_grad_(True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS)

    def loss() -> Tensor:
        optimizer.zero_grad()
        entropy = nn.functional.binary_cross_entropy_with_logits(standard @ weight.T + bias, targets)
        value = entropy + PENALTY * weight.square().sum() / targets.shape[1]
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    scaled = weight.detach() / deviation
    return scaled, bias.detach() - scaled @ mean
