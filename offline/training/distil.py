"""Train a substitute as an outsider can: from the service's answers alone, never from labels or weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from app.pipeline.gate import Gate
from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork

from ..attacks import as_posted
from ..attacks.posting import LEVELS
from ..data.augmentation import augmentation
from ..data.films import Film, FilmsError, fingerprint, of_split
from ..data.loading import Augment, in_order, load_film
from ..gate.fit import load_gate
from ..options import option
from ..run import Run, weights_sha256
from .checkpoint import resume, save_checkpoint
from .optimisation import FROM_NOTHING_RATE, PRECISIONS, autocast
from .substitute import ARCHS, Arch, initial_network
from .train import seed_all

#: Most films whose 224x224 bytes are kept in memory (50 kB each, so 250 MB). If there are more, each epoch reads all again.
KEPT_FILMS: Final = 5_000
_QUERY_BATCH: Final = 16


@dataclass(frozen=True)
class DistilOptions:
    """Options of a distillation."""

    arch: Arch = option("resnet50", "of the substitute", choices=ARCHS)
    epochs: int = option(10, "passes over the answered films")
    batch_size: int = option(32, "films in a step")
    rate: float = FROM_NOTHING_RATE
    weight_decay: float = 1e-2
    seed: int = option(0, "of the order of films and of all that is drawn")
    precision: str = option("bf16", "of the forward pass", choices=PRECISIONS)
    workers: int = 1


@dataclass(frozen=True)
class Served:
    """The network and the gate of the service. An outsider posts films and reads answers, and sees neither.

    Attributes
    ----------
    network : ChestNetwork
        On the device.
    gate : Gate
        The service answers 422 to a film that the gate does not accept.
    """

    network: ChestNetwork
    gate: Gate

    @staticmethod
    def of_run(run: Run, device: torch.device) -> Served:
        """The network and the gate that an export of a fitted run would serve.

        Raises
        ------
        FilmsError
            The run has no network, or was not fitted.
        """
        fitted, _ = load_gate(run)
        return Served(run.network().to(device), fitted.gate)


@dataclass(frozen=True)
class Answers:
    """The service's answers to films, each posted once as an 8-bit PNG of 224 x 224.

    Attributes
    ----------
    films : list of Film
        The A films that got an answer.
    probabilities : ndarray, shape (A, L), float32, in [0, 1]
    images : Tensor or None, shape (A, 1, 224, 224), uint8
        The posted images; None if there are too many to keep.
    rejected : int
        Films that the gate refused: 422 carries no probabilities.
    """

    films: list[Film]
    probabilities: NDArray[np.float32]
    images: Tensor | None
    rejected: int


def ask(
    served: Served,
    films: list[Film],
    device: torch.device,
    workers: int,
    title: str,
) -> Answers:
    """Post every film once, and keep the answers of those that the gate accepts.

    Raises
    ------
    FilmsError
        The gate accepts no film.
    """
    keep = len(films) <= KEPT_FILMS
    accepted: list[NDArray[np.bool_]] = []
    probabilities: list[Tensor] = []
    images: list[Tensor] = []
    with torch.inference_mode(), tqdm(total=len(films), desc=f"asking about {title}", unit="film") as progress:
        for batch, _ in in_order(films, batch_size=_QUERY_BATCH, workers=workers):
            posted = as_posted(batch)
            outputs = served.network(posted.to(device))
            passed = served.gate.accepts(outputs.gate_features.cpu().numpy())
            accepted.append(passed)
            probabilities.append(outputs.logits.float().sigmoid().cpu()[torch.from_numpy(passed)])
            if keep:
                images.append((posted * LEVELS).round().to(torch.uint8)[torch.from_numpy(passed)])
            progress.update(len(batch))
    mask = np.concatenate(accepted)
    if not mask.any():
        raise FilmsError(f"the gate rejects all {len(films)} films of {title}; there is no answer to learn from")
    return Answers(
        [film for film, passed in zip(films, mask, strict=True) if passed],
        torch.cat(probabilities).numpy(),
        torch.cat(images) if keep else None,
        int((~mask).sum()),
    )


class AnsweredFilms(Dataset[tuple[Tensor, Tensor]]):
    """(posted image (1, 224, 224) in [0,1], the service's probabilities (L,))."""

    def __init__(self, answers: Answers, augment: Augment | None = None) -> None:
        self.answers = answers
        self.augment = augment

    def __len__(self) -> int:
        return len(self.answers.films)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        kept = self.answers.images
        image = as_posted(load_film(self.answers.films[index].path)) if kept is None else kept[index].float() / LEVELS
        if self.augment is not None:
            image = self.augment(image)
        return image, torch.from_numpy(self.answers.probabilities[index])


def distil(
    served: Served, films: list[Film], output: Run, options: DistilOptions, device: torch.device, weights: str = "none"
) -> dict[str, Any]:
    """Train a substitute on the service's answers, and write its weights and ``distillation.json`` into `output`.

    Resumes from the last completed epoch in `output`.

    The loss is the binary cross-entropy with the service's probabilities as soft targets (Hinton et al. 2015; Papernot et al.
    2017 for the attack). The outsider's own films are those of the train split. The training uses neither their labels nor the
    network's weights, features or gradients. Turned and mirrored copies keep the answer to the film itself, so that each film
    costs one query.

    Parameters
    ----------
    weights : str
        Initial backbone, as of ``train``.

    Returns
    -------
    dict
        The record: counts of answered and rejected films, and the mean absolute difference of probabilities on the val films.
        For comparison it also holds the difference of a constant answer (the mean over train).
    """
    seed_all(options.seed)
    train_answers, val_answers = (
        ask(served, of_split(films, split), device, options.workers, split) for split in ("train", "val")
    )
    network = initial_network(weights, options.arch).to(device)
    batches = DataLoader(
        AnsweredFilms(train_answers, augmentation()),
        options.batch_size,
        shuffle=True,
        num_workers=options.workers,
        drop_last=len(train_answers.films) > options.batch_size,
    )
    optimizer = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=options.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.epochs * len(batches), pct_start=0.21
    )
    record: dict[str, Any] = {
        "options": asdict(options),
        "initial_weights": Path(weights).name,
        "served_network_sha256": weights_sha256(served.network),
        "data": fingerprint(films),
        "train_answered": len(train_answers.films),
        "train_rejected": train_answers.rejected,
        "val_answered": len(val_answers.films),
        "val_rejected": val_answers.rejected,
        **_constant_answer(train_answers, val_answers),
        "history": [],
        "torch_version": torch.__version__,
    }
    output.folder.mkdir(parents=True, exist_ok=True)
    state = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
    identity = {key: record[key] for key in ("options", "initial_weights", "served_network_sha256", "data")}
    first_epoch, record["history"] = resume(output.checkpoint, state, identity)
    for epoch in range(first_epoch, options.epochs):
        seed_all(options.seed * 1000 + epoch)  # a resumed epoch draws what an uninterrupted one would have
        loss = _one_epoch(
            network, batches, optimizer, scheduler, device, options, f"epoch {epoch + 1}/{options.epochs}"
        )
        record["history"].append({"epoch": epoch + 1, "loss": loss, **compare(network, val_answers, device, options)})
        save_checkpoint(output.checkpoint, state, identity, epoch + 1, record["history"])
        # Written after each epoch, so that an interrupted run leaves a usable substitute.
        output.save_weights(network.state_dict())
        output.distillation.write(record)
    return record


def compare(network: nn.Module, answers: Answers, device: torch.device, options: DistilOptions) -> dict[str, float]:
    """Compare with the service: mean absolute difference of probabilities, share of same top findings, correlation."""
    network.eval()
    predicted = []
    with torch.inference_mode():
        for images, _ in DataLoader(AnsweredFilms(answers), options.batch_size, num_workers=options.workers):
            with autocast(device, options.precision):
                predicted.append(network(images.to(device)).logits.float().sigmoid().cpu())
    own = torch.cat(predicted).numpy()
    return {
        "val_mean_absolute_difference": float(np.abs(own - answers.probabilities).mean()),
        "val_same_top_finding": float((own.argmax(1) == answers.probabilities.argmax(1)).mean()),
        "val_correlation": _mean_correlation(own, answers.probabilities),
    }


def _constant_answer(train_answers: Answers, val_answers: Answers) -> dict[str, float]:
    """The figures of a substitute that learned nothing from the images: it gives the mean answer to every film."""
    constant = train_answers.probabilities.mean(0)
    return {
        "constant_mean_absolute_difference": float(np.abs(constant - val_answers.probabilities).mean()),
        "constant_same_top_finding": float((val_answers.probabilities.argmax(1) == constant.argmax()).mean()),
    }


def _mean_correlation(own: NDArray[np.float32], served: NDArray[np.float32]) -> float:
    """Pearson correlation over films of two arrays (N, L), averaged over findings; a finding that does not vary counts as 0."""
    a, b = own.astype(np.float64) - own.mean(0), served.astype(np.float64) - served.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    each = np.divide((a * b).sum(0), norm, out=np.zeros(len(LABELS)), where=norm > 0)
    return float(each.mean())


def _one_epoch(
    network: nn.Module,
    batches: DataLoader[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    device: torch.device,
    options: DistilOptions,
    title: str,
) -> float:
    """One pass over the answered films; returns the mean loss."""
    network.train()
    total = 0.0
    with tqdm(batches, desc=title, unit="batch") as progress:
        for step, (images, answers) in enumerate(progress, start=1):
            with autocast(device, options.precision):
                logits = network(images.to(device)).logits
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), answers.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            total += loss.item()
            progress.set_postfix(loss=f"{total / step:.4f}")
    return total / len(batches)
