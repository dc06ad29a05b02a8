"""Harden a trained network: a film that is attacked within a small budget must keep the logits of the unattacked film."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from tqdm import tqdm

from ..data.augmentation import augmentation, exposure
from ..data.films import Film, FilmsError, fingerprint, of_split, targets_of
from ..data.loading import FilmDataset, keep_pixels
from ..metrics import mean_auroc
from ..options import option
from ..run import PLAIN, Run, weights_sha256
from .checkpoint import resume, save_checkpoint
from .inside.dual_norm import meeting, norms_of
from .inside.networks import Inside
from .optimisation import Optimisation, TrainingSchedule, autocast
from .teachers import named, teacher_of
from .train import TrainOptions, predict, seed_all, write_run

#: Share of the training in which the budget grows to its full size. A full budget from the start would stop the learning.
RAMP: Final = 0.25
#: Share of the images whose attack changes one finding, as a real attacker wants; other attacks push all findings at random.
SINGLE: Final = 0.7
#: Noise at the start of the attack, in budgets around the film. Noise larger than the budget keeps the network from
#: overfitting to a one-step attack (de Jorge et al., N-FGSM, NeurIPS 2022, arXiv 2202.01181).
NOISE: Final = 1.5
LONGEST_GRADIENT: Final = 5.0
#: Precedes the digest of the hardened network in a record.
HARDENED: Final = "hardened "
#: Follows it, and precedes the digests of the teachers, if there are teachers.
TAUGHT: Final = ", taught by "


@dataclass(frozen=True)
class HardenOptions(TrainingSchedule):
    """Options of a run; a resumed run must have the same.

    Attributes
    ----------
    epsilon : float
        Budget of the attacks in training, L-infinity, in pixel units of [0, 1].
    steps : int
        Number of steps of each attack. One step is N-FGSM; more are PGD from a random start.
    consistency, likeness : float
        Weights of two terms of the loss; the labels' cross-entropy has weight 1. Consistency keeps the attacked film's logits
        near the film's. Likeness keeps the film's logits near the teacher's. The teacher is the network before hardening, or
        other networks.
    ramp : float
        Share of the training in which the budget grows from 0 to its full size. With 0 it is full from the start; with 1 only
        at the end.
    """

    backbone_rate: float = 2e-4
    average_decay: float = 0.98
    epsilon: float = option(1.5 / 255, "budget of the attacks in training, pixels in [0,1] (default: 1.5/255)")
    steps: int = option(1, "of each of them")
    consistency: float = option(
        1.0, "weight of the attacked film's logits being the film's: more is harder, and less accurate"
    )
    likeness: float = option(0.5, "weight of the logits being those of the teacher")
    ramp: float = option(RAMP, "share of the training in which the budget grows from nothing to --epsilon, 0 to 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.epsilon > 0 and self.steps >= 1):
            raise FilmsError("--epsilon must be over 0, and --steps at least 1")
        if not 0 <= self.ramp <= 1:
            raise FilmsError(f"--ramp {self.ramp:g} is not a share of the training, from 0 to 1")

    def record(self, arch: str = PLAIN) -> dict[str, Any]:
        """The options for a run's record. The default ramp is left out, as in records from before there was a choice."""
        options = {**asdict(self), "arch": arch}
        if self.ramp == RAMP:
            del options["ramp"]
        return options


class Hardening:
    """The loss that hardens a network.

    Differences of logits are divided by the deviation of the teacher's logits over films, finding by finding: what matters is
    how far an attack moves a film among other films. Rare findings have small probabilities and small deviations.

    Parameters
    ----------
    teacher : Module
        The film's logits shall be like the teacher's; in eval mode, on the device.
    deviations : Tensor, shape (L,)
        Standard deviations of the teacher's logits over films.
    """

    def __init__(self, teacher: nn.Module, deviations: Tensor, options: HardenOptions) -> None:
        self.teacher = teacher
        self.deviations = deviations
        self.options = options

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor, done: float) -> Tensor:
        """One batch's loss; `done` is the completed share of the training, in [0, 1]."""
        epsilon = self.options.epsilon * (min(1.0, done / self.options.ramp) if self.options.ramp else 1.0)
        with torch.no_grad():
            taught = self._logits(self.teacher, images)
        logits, moved = self._both(network, images, epsilon)
        return (
            nn.functional.binary_cross_entropy_with_logits(logits, targets)
            + self.options.likeness * ((logits - taught) / self.deviations).square().mean()
            + self.options.consistency * ((moved - logits) / self.deviations).square().mean()
        )

    def _both(self, network: nn.Module, images: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """Logits of films, and of their attacked copies. If the network has ``DualNorm`` layers, each kind uses its own."""
        norms = norms_of(network)
        with meeting(norms, attacked=True, learning=False):
            attacked = self.attacked(network, images, epsilon)
        if not norms:
            logits, moved = self._logits(network, torch.cat([images, attacked])).chunk(2)
            return logits, moved
        with meeting(norms, attacked=False, learning=True):
            logits = self._logits(network, images)
        with meeting(norms, attacked=True, learning=True):
            return logits, self._logits(network, attacked)

    def attacked(self, network: nn.Module, images: Tensor, epsilon: float) -> Tensor:
        """Images attacked in random directions of logits, shape (N, 1, H, W), in [0, 1].

        With one step they may differ from the images by up to ``1 + NOISE`` budgets, as in N-FGSM; with more steps, by one
        budget at most.
        """
        direction = self._directions(len(images)).to(images)
        several = self.options.steps > 1
        noise = epsilon * (1.0 if several else NOISE)
        step = 1.25 * epsilon / (self.options.steps - 1) if several else epsilon
        at = images + torch.empty_like(images).uniform_(-noise, noise)
        for _ in range(self.options.steps):
            at = at.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad((self._logits(network, at) / self.deviations * direction).sum(), at)
            at = at + step * gradient.sign()
            if several:
                at = torch.clamp(at, images - epsilon, images + epsilon)
        return at.detach().clamp(0, 1)

    def _directions(self, count: int) -> Tensor:
        labels = len(self.deviations)
        everything = torch.randn(count, labels) / math.sqrt(labels)
        one = nn.functional.one_hot(torch.randint(labels, (count,)), labels).float()
        sign = torch.randint(2, (count, 1)) * 2.0 - 1.0
        return torch.where(torch.rand(count, 1) < SINGLE, one * sign, everything)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        with autocast(images.device, self.options.precision):
            logits: Tensor = network(images).logits
        return logits.float()


def harden(
    run: Run,
    films: list[Film],
    output: Run,
    options: HardenOptions,
    device: torch.device,
    teachers: Sequence[Run] = (),
    inside: Inside | None = None,
) -> Path:
    """Harden the network of `run`, and write ``network.safetensors`` and ``training.json`` into `output`.

    Batch statistics do not change: those of attacked and clean films differ, and the served network has one set. The written
    weights are an exponential moving average. Hardening resumes from the last completed epoch in `output`; it leaves a
    complete run unchanged.

    Parameters
    ----------
    teachers : sequence of Run
        Runs whose mean logits are the teacher's. If there are none, `run` is the teacher.
    inside : Inside or None
        A rival that is put inside the network before it is hardened. ``load_inside`` reads such a run.

    Returns
    -------
    Path
        The weights file. The run is like one of ``train``, and its gate must be fitted again.

    Raises
    ------
    FilmsError
        `run` or a teacher has no trained network, or the checkpoint comes from other options or data.
    """
    seed_all(options.seed)
    train_films, val_films = of_split(films, "train"), of_split(films, "val")
    teacher = teacher_of(teachers or [run]).to(device)
    identity = {
        "options": options.record(PLAIN if inside is None else inside.arch),
        "data": fingerprint(films),
        "initial_weights": HARDENED
        + weights_sha256(run.network())[:12]
        + (f" with {inside.name} inside" if inside else "")
        + (TAUGHT + named(teachers) if teachers else ""),
    }
    if _is_done(output, identity, options.epochs):
        return output.weights
    predicting = TrainOptions(batch_size=options.batch_size, precision=options.precision, workers=options.workers)
    deviations = torch.from_numpy(predict(teacher, val_films, device, predicting)).std(0).to(device)
    network = run.network().to(device)
    if inside is not None:
        network = inside.make(network, films)
    network.requires_grad_(True)
    batches = _batches(train_films, options)
    optimisation = Optimisation.of(network, options, options.epochs * len(batches))
    state: dict[str, Any] = {"network": network, **optimisation.state()}
    output.folder.mkdir(parents=True, exist_ok=True)
    hardening = Hardening(teacher, deviations, options)
    first_epoch, history = resume(output.checkpoint, state, identity)
    for epoch in range(first_epoch, options.epochs):
        loss = _one_epoch(hardening, network, optimisation, batches, epoch, device)
        scores = predict(optimisation.averaged.module, val_films, device, predicting)
        history.append({"epoch": epoch + 1, "loss": loss, "val_auroc": mean_auroc(targets_of(val_films), scores)})
        save_checkpoint(output.checkpoint, state, identity, epoch + 1, history)
        # Written after each epoch, so that an interrupted run leaves a usable network.
        kept = optimisation.averaged.module if inside is None else inside.kept(optimisation.averaged.module)
        write_run(output, kept, identity, history, len(train_films))
    return output.weights


def _batches(films: list[Film], options: HardenOptions) -> DataLoader[tuple[Tensor, Tensor]]:
    changed = v2.Compose([augmentation(), exposure])
    return DataLoader(
        FilmDataset(films, changed, pixels=keep_pixels(films, options.workers)),
        options.batch_size,
        shuffle=True,
        num_workers=options.workers,
        drop_last=len(films) > options.batch_size,
    )


def _one_epoch(
    hardening: Hardening,
    network: nn.Module,
    optimisation: Optimisation,
    batches: DataLoader[tuple[Tensor, Tensor]],
    epoch: int,
    device: torch.device,
) -> float:
    """One pass over the training films; returns the mean loss."""
    options = hardening.options
    seed_all(options.seed * 1000 + epoch)  # a resumed epoch draws what an uninterrupted one would have
    network.eval()
    total = 0.0
    with tqdm(batches, desc=f"epoch {epoch + 1}/{options.epochs}", unit="batch") as progress:
        for step, (images, targets) in enumerate(progress, start=1):
            done = (epoch * len(batches) + step) / (options.epochs * len(batches))
            loss = hardening.loss(network, images.to(device), targets.to(device), done)
            optimisation.step(loss, network, LONGEST_GRADIENT)
            total += loss.item()
            progress.set_postfix(loss=f"{total / step:.4f}")
    return total / len(batches)


def _is_done(output: Run, identity: dict[str, Any], epochs: int) -> bool:
    """Whether `output` holds this run, complete. Its checkpoint, which is three times as large, may have been deleted."""
    record = output.training.read_if_there()
    if record is None or not output.weights.is_file():
        return False
    return {key: record.get(key) for key in identity} == identity and len(record["history"]) == epochs
