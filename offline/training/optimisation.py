"""The optimiser for training and hardening: AdamW under a one-cycle schedule, with an average of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data.films import FilmsError
from ..options import option
from .substitute import Trainable

#: Precisions of a forward pass in training.
PRECISIONS: Final = ("bf16", "float32")
#: Learning rates of a backbone with trained weights, and of one with random weights.
FINE_TUNING_RATE: Final = 1e-4
FROM_NOTHING_RATE: Final = 1e-3


@dataclass(frozen=True)
class TrainingSchedule:
    """How long and how fast a network is trained.

    Attributes
    ----------
    backbone_rate, head_rate : float
        Highest learning rates.
    """

    epochs: int = option(8, "passes over the training films")
    batch_size: int = option(16, "films in a step")
    backbone_rate: float = FINE_TUNING_RATE
    head_rate: float = 1e-3
    weight_decay: float = 1e-2
    average_decay: float = option(0.98, "of the moving average of the weights, which is written")
    seed: int = option(0, "of the order of films and of all that is drawn")
    precision: str = option("bf16", "of the forward pass", choices=PRECISIONS)
    workers: int = 2

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise FilmsError("--epochs and --batch-size must be at least 1")
        if not (self.backbone_rate > 0 and 0 < self.average_decay < 1):
            raise FilmsError("--backbone-rate must be over 0, and --average-decay between 0 and 1")


@dataclass(frozen=True)
class Optimisation:
    """Optimiser, schedule and averaged weights of one network."""

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    averaged: AveragedModel

    @staticmethod
    def of(network: Trainable, schedule: TrainingSchedule, steps: int) -> Optimisation:
        """An optimisation over `steps` steps; backbone and head have separate rates."""
        optimizer = torch.optim.AdamW(
            [
                {"params": network.features.parameters(), "lr": schedule.backbone_rate},
                {"params": network.classifier.parameters(), "lr": schedule.head_rate},
            ],
            weight_decay=schedule.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[schedule.backbone_rate, schedule.head_rate],
            total_steps=steps,
            pct_start=0.21,  # with 0.2, one phase of a five-step run would have no steps
        )
        averaged = AveragedModel(
            network,
            multi_avg_fn=get_ema_multi_avg_fn(schedule.average_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        return Optimisation(optimizer, scheduler, averaged)

    def step(self, loss: Tensor, network: nn.Module, longest_gradient: float | None = None) -> None:
        """One step on the loss of a batch. The gradient is clipped to `longest_gradient`; the averaged weights are updated."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if longest_gradient is not None:
            nn.utils.clip_grad_norm_(network.parameters(), longest_gradient)
        self.optimizer.step()
        self.scheduler.step()
        self.averaged.update_parameters(network)

    def state(self) -> dict[str, Any]:
        """The parts that a checkpoint stores beside the network."""
        return {"averaged": self.averaged, "optimizer": self.optimizer, "scheduler": self.scheduler}


def autocast(device: torch.device, precision: str = "bf16") -> torch.autocast:
    """Compute in bfloat16 if the precision is "bf16" and the device supports it.

    Processors without bfloat16 emulate it: BIM then took nine times as long as in float32 (27.5 s a film, not 3.2).
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16" and _has_bfloat16(device))


def _has_bfloat16(device: torch.device) -> bool:
    if device.type != "cpu":
        return True
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last is Arm's
