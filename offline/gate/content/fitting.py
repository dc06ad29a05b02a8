"""Fit the check of content: frontal films against projected laterals and drawn pictures. Held-out films set its bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from app.pipeline.content import KINDS, LATERAL, OTHER, SHAPES, SIDE, Content, normalised
from app.pipeline.preprocess import PREPROCESSING

from ...data.films import SPLITS, Film, Split, fingerprint, of_split
from ...data.loading import in_order
from ...options import option
from ...run import Run
from .changed import Shapes, bent, toned
from .drawn import drawings, parts
from .exposed import exposures
from .project import KEPT, SOURCE, read_projections
from .project import SIDE as BASE_SIDE

BATCH: Final = 16
#: A film is refused if it is more likely something else than a frontal film.
LEAST_LOG_ODDS: Final = 0.0
#: Share of held-out films, changed and unchanged, that the bound on the unexplained part accepts.
MOST_UNEXPLAINED: Final = 0.998
OF_FILMS: Final = Shapes()
#: A lateral film is cropped closer, and is narrower than high, but is stretched to a square.
OF_PROJECTIONS: Final = Shapes(turn=10, scale=(0.8, 1.2), aspect=0.3, bend=0.035)


@dataclass(frozen=True)
class ContentOptions:
    """How the check of content is fitted.

    Attributes
    ----------
    steps : int
        Steps of the optimiser, each on 96 pictures: films, projected frontals, projected laterals, and drawings.
    exposures, drawings : int
        Numbers of pictures that are made once, at most as many as all steps use. Each step changes them in another way.
    copies : int
        Changed copies of each training film, for the subspace, and of each held-out film, for the bounds.
    components : int
        Dimensions of the subspace.
    """

    seed: int = 0
    steps: int = option(
        1500, "steps in which the check that a film is a frontal chest film is trained", flag="--content-steps"
    )
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    exposures: int = 900
    drawings: int = 1400
    copies: int = 6
    components: int = 120


def small_network() -> nn.Sequential:
    """The untrained network of ``app.pipeline.content``: thumbnails (N, 1, 32, 32) -> logits (N, 3)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, len(KINDS))),
    )


def reduced(films: Tensor) -> NDArray[np.float64]:
    """Films, shape (N, H, W), sides multiples of 32 -> thumbnails, shape (N, 32, 32)."""
    return normalised(F.adaptive_avg_pool2d(films[:, None], SIDE)[:, 0].numpy())


def load_small(films: list[Film], workers: int, title: str) -> Tensor:
    """Films at half the gate's side, shape (N, 112, 112), in [0, 1]."""
    found = []
    with tqdm(total=len(films), desc=f"reducing {title}", unit="film") as progress:
        for images, _ in in_order(films, batch_size=BATCH, workers=workers):
            found.append(F.adaptive_avg_pool2d(images, BASE_SIDE)[:, 0])
            progress.update(len(images))
    return torch.cat(found)


class Pictures:
    """The training pictures by class. Each batch is a random choice with new random changes."""

    def __init__(self, films: Tensor, options: ContentOptions) -> None:
        self.generator = np.random.default_rng(options.seed)
        projections = read_projections()
        self.films = films
        exposed, drawn = (min(most, 24 * options.steps) for most in (options.exposures, options.drawings))
        self.frontals = exposures(projections.frontal, exposed // 2, self.generator, False)
        self.laterals = exposures(projections.lateral, exposed, self.generator, True)
        slices = torch.from_numpy(projections.slices)
        tissue = parts(films, drawn // 7, self.generator)
        self.others = torch.cat([drawings(drawn, self.generator), slices, slices, tissue])

    def batch(self) -> tuple[Tensor, Tensor]:
        """Thumbnails, shape (96, 1, 32, 32), and their kinds, shape (96,)."""
        frontal = bent(self._some(self.films, 36), self.generator, OF_FILMS)
        projected = bent(self._some(self.frontals, 12), self.generator, OF_PROJECTIONS)
        lateral = in_any_sense(
            bent(self._some(self.laterals, 24), self.generator, OF_PROJECTIONS), 0.25, self.generator
        )
        other = in_any_sense(bent(self._some(self.others, 24), self.generator, OF_FILMS), 0.75, self.generator)
        pictures = toned(torch.cat([frontal, projected, lateral, other]), self.generator)
        kinds = torch.repeat_interleave(torch.arange(3), torch.tensor([48, 24, 24]))
        return torch.from_numpy(reduced(pictures)).float()[:, None], kinds

    def _some(self, pictures: Tensor, count: int) -> Tensor:
        return pictures[torch.from_numpy(self.generator.integers(len(pictures), size=count))]


def in_any_sense(pictures: Tensor, share: float, generator: np.random.Generator) -> Tensor:
    """Turn a share of pictures, shape (N, H, H), by quarters, or invert them; changed in place."""
    for picture in pictures:
        if generator.random() < share:
            turns = int(generator.integers(5))
            picture.copy_(1 - picture if turns == 4 else torch.rot90(picture, turns))
    return pictures


def train_network(pictures: Pictures, options: ContentOptions) -> nn.Sequential:
    """Train the small network; returns it in evaluation mode."""
    torch.manual_seed(options.seed)
    network = small_network()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.learning_rate, total_steps=options.steps)
    for _ in tqdm(range(options.steps), desc="content", unit="step"):
        thumbnails, kinds = pictures.batch()
        loss = F.cross_entropy(network(thumbnails), kinds, label_smoothing=0.01)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def arrays_of(network: nn.Sequential) -> dict[str, NDArray[np.float32]]:
    """The trained arrays under the names of ``SHAPES``."""
    return dict(zip(SHAPES, (value.detach().numpy().copy() for value in network.state_dict().values()), strict=True))


def subspace(thumbnails: NDArray[np.float64], components: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (1024,) and the first principal components (k, 1024) of thumbnails, shape (N, 32, 32)."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    mean = flat.mean(axis=0)
    _, vectors = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    return mean.astype(np.float32), np.ascontiguousarray(vectors.T[::-1][:components], dtype=np.float32)


def copies_of(films: Tensor, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Thumbnails of unchanged films, then of `count` changed copies of each."""
    parts = [reduced(F.interpolate(films[:, None], size=(2 * SIDE, 2 * SIDE), mode="area")[:, 0])]
    for _ in range(count):
        parts.append(reduced(toned(bent(films, generator, OF_FILMS), generator)))
    return np.concatenate(parts)


def counted(content: Content, thumbnails: NDArray[np.float64]) -> dict[str, int]:
    """Counts of the check's answers to thumbnails, shape (N, 32, 32)."""
    kinds = content.kinds(thumbnails)
    return {
        "images": len(kinds),
        "lateral": kinds.count(LATERAL),
        "other": kinds.count(OTHER),
        "passed": kinds.count(None),
    }


def fit_content(run: Run, films: list[Film], workers: int, options: ContentOptions | None = None) -> dict[str, Any]:
    """Fit on training films, set the bounds with held-out films, count the answers, and write all into `run`.

    The fit uses pixels alone. If `run` already holds a fit of the same films and options, it is reused with any network.

    Returns
    -------
    dict
        The record. It counts the answers to films, changed films, projections and drawings.
    """
    options = options or ContentOptions()
    identity = {
        "films": fingerprint(films),
        "preprocessing": PREPROCESSING,
        "projections": hashlib.sha256(KEPT.read_bytes()).hexdigest(),
        "options": asdict(options),
    }
    fitted = run.content_record.read_if_there()
    if fitted and all(fitted.get(name) == value for name, value in identity.items()):
        return fitted
    small = {split: load_small(of_split(films, split), workers, split) for split in SPLITS}
    pictures = Pictures(small["train"], options)
    arrays = arrays_of(train_network(pictures, options))
    generator = np.random.default_rng((options.seed, 1))
    mean, basis = subspace(copies_of(small["train"], options.copies, generator), options.components)
    held_out = copies_of(small["val"], options.copies, generator)
    most = float(np.quantile(Content(arrays, mean, basis, 0, 1).unexplained(held_out), MOST_UNEXPLAINED))
    content = Content(arrays, mean, basis, LEAST_LOG_ODDS, most)
    run.content.write({**arrays, "mean": mean, "basis": basis})
    record: dict[str, Any] = {
        **identity,
        "n": len(small["train"]),
        "source": SOURCE,
        "least_log_odds": content.least_log_odds,
        "most_unexplained": most,
        "counts": counts_of(content, small, options),
    }
    run.content_record.write(record)
    return record


def counts_of(content: Content, small: Mapping[Split, Tensor], options: ContentOptions) -> dict[str, dict[str, int]]:
    """Counts of the answers to held-out, test and changed films, and to new projections and drawings."""
    generator = np.random.default_rng((options.seed, 2))
    projections = read_projections()
    changed = {
        "projections of a CT, frontal": (exposures(projections.frontal, 200, generator, False), OF_PROJECTIONS),
        "projections of a CT, lateral": (exposures(projections.lateral, 200, generator, True), OF_PROJECTIONS),
        "drawn pictures": (drawings(200, generator), OF_FILMS),
    }
    found = {}
    splits: tuple[tuple[Split, str], ...] = (("val", "held-out films"), ("test", "test films"))
    for split, words in splits:
        as_they_are = reduced(small[split])
        found[words] = counted(content, as_they_are)
        copies = copies_of(small[split], 3, generator)[len(as_they_are) :]
        found[f"{words}, changed"] = counted(content, copies)
    for words, (films, shapes) in changed.items():
        found[words] = counted(content, reduced(toned(bent(films, generator, shapes), generator)))
    return found


def load_content(run: Run) -> tuple[Content, dict[str, Any]]:
    """Read the results of ``fit_content``.

    Raises
    ------
    FilmsError
        The run has not been fitted.
    """
    record, arrays = run.content_record.read(), run.content.read()
    mean, basis = arrays.pop("mean"), arrays.pop("basis")
    return Content(arrays, mean, basis, record["least_log_odds"], record["most_unexplained"]), record
