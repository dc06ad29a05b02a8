"""``python -m research.frontier.rivals``: rivals of a gate that its paper names, as last stages of a network, on val films.

Each computes something else of the last feature map (Taghanaki et al.: radial basis functions; He et al.: non-local context; Xie
et al.: denoised features), and a ridge regression learns from it the logits that the network has. So all of them answer nearly
alike, and what differs is how far an attacker moves the answer: whoever does not know the gate, and stops at the flip over the
one operating point, without a band.

Writes ``reports/frontier/rivals.json`` and the table of rivals in research/README.md.

With ``--inside NAME`` a rival stands where its authors put it, inside the network of ``--start``, which is then hardened
(``frontier.inside``); that writes ``reports/frontier/inside.json`` and a table of its own. A run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from app.pipeline.backends import choose_device
from app.pipeline.network import ChestNetwork
from app.pipeline.outputs import Outputs
from offline import generated_tables
from offline.attacks import Goal, SearchOptions, Victim, minimal
from offline.calls.fitting import youden_logits
from offline.data.films import Film, evenly, of_split, read_films, some_of, targets_of
from offline.data.loading import in_order
from offline.evaluation.circumstances import circumstances
from offline.evaluation.observing import BATCH, Images, batches, load_images
from offline.evaluation.subject import LoadedBundle
from offline.generated_tables import markdown_table
from offline.metrics import mean_auroc
from offline.report.words import strength
from offline.run import write_json
from offline.training.memory import keep_freed_memory
from offline.training.refit_head import RIDGE, ridge_layer

from . import inside
from .arguments import parser_of
from .inside_command import add_arguments, run_inside
from .table import count_of

REPORT: Final = Path("reports/frontier/rivals.json")
EPSILON: Final = 1 / 255
GOALS: Final[tuple[Goal, ...]] = ("hide", "invent")
CENTRES: Final = 256
#: The name of the row with which a rival is compared.
OWN: Final = "its own last layer"

#: Of a last feature map, shape (N, C, H, W), after ReLU -> (N, d).
Stage = Callable[[Tensor], Tensor]


def averaged(maps: Tensor) -> Tensor:
    """The network's own features: shape (N, C, H, W) -> (N, C)."""
    return maps.mean((2, 3))


def with_context(maps: Tensor) -> Tensor:
    """A non-local mean over places beside the map, shape (N, C, H, W) -> (N, 2 C).

    Each place becomes the mean of all, weighed by softmax(x_i . x_j / sqrt(C)): the block of Wang et al. (CVPR 2018) without
    embeddings, from which He et al. (AAAI 2019, non-local context encoder) and Xie et al. (CVPR 2019, section 4, feature
    denoising) made theirs. Their 1 x 1 convolution and the sum with the map before it are linear, as are the pooling and the
    last layer after it: a last layer on both, side by side, is all of these at their best.
    """
    n, channels = maps.shape[:2]
    places = maps.reshape(n, channels, -1).transpose(1, 2)
    weights = torch.softmax(places @ places.transpose(1, 2) / channels**0.5, -1)
    return torch.cat([averaged(maps), (weights @ places).mean(1)], 1)


def with_median(maps: Tensor) -> Tensor:
    """A median over 3 x 3 places beside the map (Xie et al., CVPR 2019, section 4), shape (N, C, H, W) -> (N, 2 C)."""
    near = F.unfold(F.pad(maps, (1, 1, 1, 1), mode="replicate"), 3).reshape(*maps.shape[:2], 9, -1)
    return torch.cat([averaged(maps), near.median(2).values.mean(2)], 1)


class RadialBasis(nn.Module):
    """Radial basis functions of the features, which are bounded: far from all that was seen, nothing moves.

    After Taghanaki et al. (CVPR 2019, "A kernelized manifold mapping"), who learn centres and width by gradients; here the
    centres are films, and the width is the median distance between them.

    Parameters
    ----------
    centres : Tensor, shape (K, C)
    """

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", centres)
        self.width = float(torch.pdist(centres).median())

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, C, H, W) -> (N, K), in [0, 1]."""
        distance = torch.cdist(averaged(maps), self.centres.to(maps), compute_mode="donot_use_mm_for_euclid_dist")
        return torch.exp(-0.5 * (distance / self.width).square())


class Rival(nn.Module):
    """A network with another last stage; its gate is the network's, and sees what it saw.

    Parameters
    ----------
    layer : Linear
        (N, d) -> logits (N, L).
    """

    def __init__(self, network: ChestNetwork, stage: Stage, layer: nn.Linear) -> None:
        super().__init__()
        self.network, self.stage, self.layer = network, stage, layer

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        """Shape (N, 1, 224, 224) in [0,1] -> outputs, as ``ChestNetwork``."""
        normalised = (images - self.network.image_mean) / self.network.image_std
        maps = last_map(self.network, normalised)
        features, watch = averaged(maps), self.network.watch
        return Outputs(features, features if watch is None else watch(normalised), self.layer(self.stage(maps)))


def last_map(network: ChestNetwork, normalised: Tensor) -> Tensor:
    """The last feature map after ReLU, before it is pooled: shape (N, 3, 224, 224) -> (N, 1024, 7, 7)."""
    return F.relu(network.features(normalised.contiguous(memory_format=torch.channels_last)))


def described(
    network: ChestNetwork, films: list[Film], stages: Mapping[str, Stage], device: torch.device, workers: int
) -> dict[str, NDArray[np.float32]]:
    """What each stage makes of films, by its name, and under "logits" what the network answers; arrays of shape (N, d)."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    with torch.inference_mode():
        for images, _ in in_order(films, batch_size=BATCH, workers=workers):
            maps = last_map(network, (images.to(device) - network.image_mean) / network.image_std)
            made = {name: stage(maps) for name, stage in stages.items()}
            for name, part in {**made, "logits": network.classifier(averaged(maps))}.items():
                parts.setdefault(name, []).append(part.cpu().numpy())
    return {name: np.concatenate(some) for name, some in parts.items()}


def rivals_of(
    subject: LoadedBundle, train: list[Film], val: list[Film], attacked: Images, steps: int, workers: int
) -> list[dict[str, Any]]:
    """A row for each last stage of one network: mean AUROC on val films, and how often an attacker hides and invents."""
    network, device = subject.bundle.network, subject.device
    stages: dict[str, Stage] = {
        "linear, learned anew": averaged,
        "denoised: non-local context": with_context,
        "denoised: median": with_median,
    }
    learning = described(network, train, stages, device, workers)
    few = learning["linear, learned anew"][evenly(len(train), CENTRES)]
    basis = RadialBasis(torch.from_numpy(few).to(device))
    with torch.inference_mode():  # its features need no film again: they are of the average
        maps = torch.from_numpy(learning["linear, learned anew"]).to(device)[:, :, None, None]
        learning["radial basis"] = basis(maps).cpu().numpy()
    stages["radial basis"] = basis
    seen = described(network, val, stages, device, workers)
    layers = {name: _layer(learning[name], learning["logits"], device) for name in stages}
    rows = [_row(subject, OWN, network, seen["logits"], val, attacked, steps)]
    for name, stage in stages.items():
        with torch.inference_mode():
            logits = layers[name](torch.from_numpy(seen[name]).to(device)).cpu().numpy()
        rows.append(_row(subject, name, Rival(network, stage, layers[name]), logits, val, attacked, steps))
    return rows


def _layer(features: NDArray[np.float32], logits: NDArray[np.float32], device: torch.device) -> nn.Linear:
    weight, bias = ridge_layer(features, logits, RIDGE)
    layer = nn.Linear(features.shape[1], logits.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer.to(device).requires_grad_(False)


def _row(
    subject: LoadedBundle,
    name: str,
    network: nn.Module,
    logits: NDArray[np.float32],
    val: list[Film],
    attacked: Images,
    steps: int,
) -> dict[str, Any]:
    """One last stage, measured; its operating points are of its own answers, as an export would choose them."""
    targets = targets_of(val)
    points = torch.tensor(youden_logits(logits, targets), dtype=torch.float64).sigmoid()
    victim = Victim.of(network, subject.bundle.gate, points, subject.device)
    row: dict[str, Any] = {"stage": name, "auroc": mean_auroc(targets, logits)}
    for goal in GOALS:
        eligible = evaded = 0
        for images in batches(attacked, subject.device, f"{name}: {goal}"):
            result = minimal(victim, images, victim.choose(goal, images), SearchOptions.within(EPSILON, steps=steps))
            eligible += int(result.eligible.sum())
            evaded += int(result.success.sum())
        row[goal] = {"eligible": eligible, "evaded": evaded}
    return row


def table_of_rivals(report: dict[str, Any]) -> str:
    """A row for each network and last stage."""
    budget = strength(report["epsilon"])
    lines = []
    for network in report["networks"]:
        for row in network["rivals"]:
            cells = [count_of(row[goal]["evaded"], row[goal]["eligible"]) for goal in GOALS]
            lines.append([network["bundle"], row["stage"], f"{row['auroc']:.3f}", *cells])
    return markdown_table(["network", "last stage", "AUROC val", *(f"{goal}, {budget}" for goal in GOALS)], lines)


def filled(document: str, report: dict[str, Any]) -> str:
    """The document with its table anew."""
    return generated_tables.filled(document, {"rivals": table_of_rivals(report)})


def main(arguments: list[str] | None = None) -> int:
    """Learn, attack and write."""
    parser = parser_of("rivals", __doc__, films=40)
    parser.add_argument(
        "--bundle", type=Path, action="append", help="(default: artifacts/paper, and artifacts/default)"
    )
    parser.add_argument("--steps", type=int, default=12, help="of a quarter grey level (default: %(default)s)")
    parser.add_argument("--report", type=Path, help=f"(default: {REPORT}, or {inside.REPORT})")
    add_arguments(parser)
    given = parser.parse_args(arguments)
    keep_freed_memory()
    device, films = choose_device("auto"), read_films(given.data)
    if given.inside:
        return run_inside(given, films, device)
    train, val = of_split(films, "train"), of_split(films, "val")
    attacked = load_images(some_of(val, given.films), "reading")
    networks = []
    for folder in given.bundle or (Path("artifacts/paper"), Path("artifacts/default")):
        subject = LoadedBundle.load(folder, device)
        print(f"== {folder}: {subject.bundle.manifest.model_version}", flush=True)
        rows = rivals_of(subject, train, val, attacked, given.steps, given.workers)
        networks.append({"bundle": folder.name, "model_version": subject.bundle.manifest.model_version, "rivals": rows})
    report = {
        **circumstances(device),
        "epsilon": EPSILON,
        "steps": given.steps,
        "films": len(attacked),
        "networks": networks,
    }
    to: Path = given.report or REPORT
    to.parent.mkdir(parents=True, exist_ok=True)
    write_json(to, report)
    given.page.write_text(filled(given.page.read_text(), report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
