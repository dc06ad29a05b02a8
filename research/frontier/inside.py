"""Rivals inside the network, hardened with one recipe: accuracy, movement, calls turned, and the cost of a forward pass.

Each rival starts inside the same network, whose answers it does not change at first. Each is hardened on the same films for the
same number of epochs. The gate uses the first block of the starting network, which is the same for all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from torch import nn

from app.pipeline.image import INPUT_SIDE
from app.pipeline.network import ChestNetwork, GateNetwork
from offline import generated_tables
from offline.attacks import CallPoints
from offline.attacks.goals import OPPOSITE
from offline.data.films import Film, of_split, targets_of
from offline.evaluation.adaptive import aimed_rows
from offline.evaluation.subject import victim_of_run
from offline.gate.features import saved
from offline.gate.fit import gate_of
from offline.generated_tables import markdown_table
from offline.metrics import mean_auroc
from offline.run import Run, weights_sha256
from offline.training.harden import RAMP, HardenOptions, harden
from offline.training.inside import INSIDE, load_inside

from .bands import called, paired_loss
from .point import Measuring
from .recipes import THROUGH_WATCH
from .starting import logits_of, take_kept
from .table import HELD_OUT, accuracy_of, calls_heading, calls_of, turned_of

#: Without anything inside: what rivals are compared with.
PLAIN: Final = "plain"
NAMES: Final = (PLAIN, *INSIDE)
REPORT: Final = Path("reports/frontier/inside.json")
REPEATS: Final = 9
TIMED_BATCH: Final = 8


@dataclass(frozen=True)
class Common:
    """The settings that are the same for all compared networks.

    Attributes
    ----------
    start : Run
        The run that all start from.
    eyes : Run
        The run whose watch, or else first block, the gate looks through: one that was not hardened, or has a watch.
    teachers : tuple of Run
        As of ``harden``.
    runs : Path
        Where what is made is kept.
    films, used : list of Film
        That they are hardened on, and measured on.
    """

    start: Run
    eyes: Run
    teachers: tuple[Run, ...]
    runs: Path
    films: list[Film]
    used: list[Film]
    options: HardenOptions
    measuring: Measuring
    device: torch.device
    workers: int

    def run_of(self, name: str) -> Run:
        """The run of a rival. ``harden`` refuses to resume it with another start or other teachers."""
        options = self.options
        made = f"inside-{name}-{options.epsilon * 255:.3g}-{options.consistency:g}-{options.epochs}"
        return Run(self.runs / (made if options.ramp == RAMP else f"{made}-ramp-{options.ramp:g}"))


def measure_inside(name: str, common: Common) -> dict[str, Any]:
    """Harden one of ``NAMES``, which resumes where it was, fit its gate, and measure it: a row of the table."""
    inside, run = INSIDE.get(name), common.run_of(name)
    used, measuring, device, workers = common.used, common.measuring, common.device, common.workers
    if inside is None and not common.teachers:
        take_kept(run, common.options)
    harden(common.start, common.films, run, common.options, device, common.teachers, inside=inside)
    network, before = load_inside(run).to(device), common.start.network().to(device)
    ratio = cost_ratio(network, before, device)
    network.watch = _watch_of(common.eyes.network().to(device))
    network.eval().requires_grad_(False)
    gate = gate_of(network, run, used, THROUGH_WATCH, device, workers)
    logits = {split: saved(run, split).logits for split in HELD_OUT}
    trained = logits_of(common.start, used, device, workers)
    findings, calls = called(network, run, used, logits, device, measuring.movement_films, measuring.furthest)
    victim = replace(victim_of_run(run, network, gate, used, device), calls=CallPoints.of(findings).to(device))
    aimed = aimed_rows(
        run,
        victim,
        THROUGH_WATCH,
        used,
        device,
        measuring.aimed_films,
        measuring.aim,
        measuring.seed,
        goals=OPPOSITE,
    )
    targets = {split: targets_of(of_split(used, split)) for split in HELD_OUT}
    return {
        "title": PLAIN if inside is None else inside.title,
        "network": weights_sha256(network),
        "hardening": {**common.options.record(), "teachers": len(common.teachers)},
        "trained": {split: mean_auroc(targets[split], trained[split]) for split in HELD_OUT},
        "auroc": {split: mean_auroc(targets[split], logits[split]) for split in HELD_OUT},
        "lost": {split: paired_loss(of_split(used, split), trained[split], logits[split]) for split in HELD_OUT},
        "calls": calls,
        "aimed": aimed,
        "cost": ratio,
    }


def _watch_of(network: ChestNetwork) -> GateNetwork:
    """The gate's network: the network's own watch, or its first block if it was not hardened."""
    if network.watch is not None:
        return network.watch
    watch = GateNetwork()
    own = network.features.state_dict()
    watch.features.load_state_dict({name: own[name] for name in watch.features.state_dict()})
    return watch.to(network.image_mean.device)


def cost_ratio(network: nn.Module, plain: nn.Module, device: torch.device, repeats: int = REPEATS) -> dict[str, Any]:
    """Time of a forward pass by the plain network's, in float32: the median of passes taken in turn, so that load is shared."""
    images = torch.rand(TIMED_BATCH, 1, INPUT_SIDE, INPUT_SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    ratios = []
    networks: Sequence[nn.Module] = [deepcopy(each).to(device).eval() for each in (network, plain)]
    with torch.inference_mode():
        for number in range(repeats + 1):
            seconds = [_seconds(each, images, device) for each in networks]
            if number:  # the first warms up
                ratios.append(seconds[0] / seconds[1])
    return {"ratio": median(ratios), "least": min(ratios), "most": max(ratios), "batch": TIMED_BATCH}


def _seconds(network: nn.Module, images: torch.Tensor, device: torch.device) -> float:
    began = time.perf_counter()
    network(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def table_of_inside(report: dict[str, Any]) -> str:
    """A row for each that was run, in the order of ``NAMES``."""
    rows = [report["networks"][name] for name in NAMES if name in report.get("networks", {})]
    if not rows:
        return "The runs of this table are still to be done."
    return markdown_table(
        ["inside", *calls_heading(), "forward pass, of a plain one's"],
        (
            [row["title"], *accuracy_of(row), *calls_of(row), *turned_of(row), f"{row['cost']['ratio']:.2f}"]
            for row in rows
        ),
    )


def filled(document: str, report: dict[str, Any]) -> str:
    """The document with its table anew."""
    return generated_tables.filled(document, {"inside": table_of_inside(report)})
