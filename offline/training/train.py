"""Train on labelled X-rays: the DenseNet-121 that is served, or the ResNet-50 of an attacker who has labels."""

from __future__ import annotations

import os
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler
from torchvision.transforms import v2
from tqdm import tqdm

from ..data.augmentation import augmentation, exposure, mixup
from ..data.films import Film, FilmsError, fingerprint, of_split, targets_of
from ..data.loading import FilmDataset, in_order, keep_pixels
from ..metrics import mean_auroc
from ..options import option
from ..run import Run
from .checkpoint import resume, save_checkpoint
from .optimisation import Optimisation, TrainingSchedule, autocast
from .probe import probe
from .substitute import ARCHS, Arch, initial_network


@dataclass(frozen=True)
class TrainOptions(TrainingSchedule):
    """Options of a run; a resumed run must have the same.

    Attributes
    ----------
    probe : bool
        See ``probe.probe``.
    mixup : float
        As in ``augmentation.mixup``.
    """

    arch: Arch = option(
        "densenet121",
        "densenet121: what is served. resnet50: the substitute of a black-box attacker",
        choices=ARCHS,
    )
    probe: bool = option(
        False, "before the first step fit batch statistics and the last layer alone; runs with it can be averaged"
    )
    mixup: float = option(0.0, "blend films and their labels by a share from Beta(MIXUP, MIXUP); 0 is not")
    exposure: bool = option(False, "vary gamma and noise of the films too, as hardening does")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mixup >= 0:
            raise FilmsError(f"--mixup {self.mixup:g} is under 0")


@dataclass(frozen=True)
class _Processes:
    """This process among those that torchrun started (without torchrun there is one)."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


def train(films: list[Film], initial_weights: str, output: Run, options: TrainOptions, device: str) -> Path:
    """Train, and write ``network.safetensors`` and ``training.json`` into `output`.

    AdamW under a one-cycle schedule minimises the binary cross-entropy of the findings. The written weights are an exponential
    moving average. Training resumes from the last completed epoch in `output`.

    Parameters
    ----------
    initial_weights : str
        A local safetensors file with torchvision's names, the name of torchvision weights
        (``IMAGENET1K_V1``, downloaded), or ``none``.
    device : str
        ``cpu`` or ``cuda``; under torchrun each process takes the GPU of its local rank.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    FilmsError
        The folder is unusable, or the checkpoint comes from other options or data.
    """
    processes = _join_processes(device)
    seed_all(options.seed)
    train_films, val_films = of_split(films, "train"), of_split(films, "val")
    network = initial_network(initial_weights, options.arch).to(processes.device)
    pixels = keep_pixels(train_films, options.workers)
    if options.probe and not output.checkpoint.is_file():
        probe(network, train_films, pixels, options, processes.device)
    batches = _batches(train_films, pixels, options, processes)
    optimisation = Optimisation.of(network, options, options.epochs * len(batches))
    state: dict[str, Any] = {"network": network, **optimisation.state()}
    identity = {"options": asdict(options), "data": fingerprint(films), "initial_weights": Path(initial_weights).name}
    output.folder.mkdir(parents=True, exist_ok=True)
    first_epoch, history = resume(output.checkpoint, state, identity)
    wrapped: nn.Module = network
    if processes.count > 1:
        wrapped = nn.parallel.DistributedDataParallel(network)

    for epoch in range(first_epoch, options.epochs):
        loss = _one_epoch(wrapped, optimisation, batches, epoch, options, processes, history)
        if processes.first:
            scores = predict(optimisation.averaged.module, val_films, processes.device, options)
            history.append({"epoch": epoch + 1, "loss": loss, "val_auroc": mean_auroc(targets_of(val_films), scores)})
            save_checkpoint(output.checkpoint, state, identity, epoch + 1, history)
    if processes.first:
        write_run(output, optimisation.averaged.module, identity, history, len(train_films))
    if processes.count > 1:
        torch.distributed.destroy_process_group()
    return output.weights


def predict(network: nn.Module, films: list[Film], device: torch.device, options: TrainOptions) -> np.ndarray[Any, Any]:
    """Logits, shape (N, L), float32, in the order of `films`."""
    network.eval()
    outputs = []
    with torch.inference_mode():
        for images, _ in in_order(films, batch_size=options.batch_size, workers=options.workers):
            with autocast(device, options.precision):
                outputs.append(network(images.to(device)).logits.float().cpu())
    return torch.cat(outputs).numpy()


def _one_epoch(
    network: nn.Module,
    optimisation: Optimisation,
    batches: DataLoader[tuple[Tensor, Tensor]],
    epoch: int,
    options: TrainOptions,
    processes: _Processes,
    history: list[dict[str, float]],
) -> float:
    """One pass over the training films; returns the mean loss."""
    network.train()
    seed_all(options.seed * 1000 + epoch)  # a resumed epoch draws what an uninterrupted one would have
    if isinstance(batches.sampler, DistributedSampler):
        batches.sampler.set_epoch(epoch)
    total = 0.0
    so_far = f"val AUROC {history[-1]['val_auroc']:.3f}" if history else "val AUROC not yet"
    title = f"epoch {epoch + 1}/{options.epochs} ({so_far})"
    with tqdm(batches, desc=title, unit="batch", disable=not processes.first) as progress:
        for step, (images, targets) in enumerate(progress, start=1):
            mixed, wanted = mixup(images.to(processes.device), targets.to(processes.device), options.mixup)
            with autocast(processes.device, options.precision):
                logits = network(mixed).logits
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted)
            optimisation.step(loss, network.module if processes.count > 1 else network)  # type: ignore[arg-type]
            total += loss.item()
            progress.set_postfix(loss=f"{total / step:.4f}")
    return total / len(batches)


def _batches(
    films: list[Film], pixels: Tensor | None, options: TrainOptions, processes: _Processes
) -> DataLoader[tuple[Tensor, Tensor]]:
    change = v2.Compose([augmentation(), exposure]) if options.exposure else augmentation()
    dataset = FilmDataset(films, change, pixels=pixels)
    sampler = (
        DistributedSampler(dataset, processes.count, processes.rank, seed=options.seed)
        if processes.count > 1
        else RandomSampler(dataset)
    )
    return DataLoader(
        dataset,
        options.batch_size,
        sampler=sampler,
        num_workers=options.workers,
        drop_last=len(films) > options.batch_size,
    )


def _join_processes(device: str) -> _Processes:
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise FilmsError("device 'cuda' was asked for, and no GPU is there; say --device cpu")
    if count == 1:
        return _Processes(0, 1, torch.device(device))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    local = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device("cpu")
    return _Processes(torch.distributed.get_rank(), count, local)


def seed_all(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def write_run(
    output: Run, network: nn.Module, identity: dict[str, Any], history: list[dict[str, float]], train_count: int
) -> None:
    """Write a trained network and the record of its training."""
    record = {**identity, "train_count": train_count, "history": history, "torch_version": torch.__version__}
    output.save(network.state_dict(), record)
