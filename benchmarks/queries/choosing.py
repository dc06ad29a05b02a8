"""Without the service: which descriptor, which radius, false alarms, dodges and cost."""

from __future__ import annotations

import hashlib
import io
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from app.access.sequences import RADIUS, Sequences, descriptor
from app.pipeline import Bundle, Screener, Verdict
from app.pipeline.backends.torch_cpu import TorchCpu

from . import films as make
from .films import Change, FilmSet, Image

Rows = NDArray[np.floating]  # (N, D)
Describe = Callable[[NDArray[np.float32]], Rows]

LIMIT: Final = 10  # the default of CXR_QUERY_NEAR_DUPLICATES
MEMORY: Final = 4096  # and of CXR_QUERY_FILMS
PAIRS: Final = 40  # films of which two queries are compared
DODGED: Final = 10  # films
QUERIES: Final = 200  # of each
SEED: Final = 1


def blocks(side: int, *, normed: bool) -> Describe:
    """Means of blocks of side x side pixels; normed: less their mean, of length 1. Else their root mean square distance."""

    def describe(images: NDArray[np.float32]) -> Rows:
        count = make.SIDE // side
        rows = images.reshape(len(images), count, side, count, side).mean((2, 4)).reshape(len(images), -1)
        if not normed:
            return rows / rows.shape[1] ** 0.5
        rows = rows - rows.mean(1, keepdims=True)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return describe


def features(bundle: Bundle) -> Describe:
    """The network's 1024 features, of length 1."""
    backend = TorchCpu(bundle.network)

    def describe(images: NDArray[np.float32]) -> Rows:
        batches = torch.from_numpy(images)[:, None].split(8)
        rows = np.concatenate([backend.outputs(batch).features for batch in batches])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return describe


def distances(rows: Rows) -> NDArray[np.floating]:
    """Shape (N, D) -> (N, N)."""
    squares = (rows**2).sum(1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))


def choice(known: FilmSet, bundle: Bundle) -> Iterator[dict[str, Any]]:
    """The descriptors' distances of two queries and of two films."""
    draw = np.random.default_rng(SEED)
    sample = known.images[draw.choice(len(known.images), PAIRS, replace=False)]
    attacks = {
        f"{epsilon:.3g}": [(make.squares(x, epsilon, draw), make.squares(x, epsilon, draw)) for x in sample]
        for epsilon in (2 / 255, 0.02, 0.05)
    }
    val = known.of("val")
    tried: dict[str, tuple[Describe, FilmSet]] = {
        "block means of 16 pixels": (blocks(16, normed=False), known),
        "block means of 8 pixels, normed": (blocks(8, normed=True), known),
        "block means of 16 pixels, normed": (blocks(16, normed=True), known),
        "block means of 32 pixels, normed": (blocks(32, normed=True), known),
        "the network's features (val films)": (features(bundle), val),
    }
    for name, (describe, of) in tried.items():
        between = distances(describe(of.images))
        prints = np.array([hash(image.tobytes()) for image in of.images])
        identical = prints[:, None] == prints  # one film is there twice, under two names
        pairs = np.triu(~identical, 1)
        queries = {
            epsilon: [float(np.linalg.norm(np.subtract(*describe(np.stack(pair))))) for pair in each]
            for epsilon, each in attacks.items()
        }
        yield {
            "descriptor": name,
            "queries_median": {epsilon: float(np.median(each)) for epsilon, each in queries.items()},
            "queries_p95": {epsilon: float(np.quantile(each, 0.95)) for epsilon, each in queries.items()},
            "serial_pairs": int((pairs & of.same_patient).sum()),
            "serial_least": float(between[pairs & of.same_patient].min()),
            "other_pairs": int((pairs & ~of.same_patient).sum()),
            "other_least": float(between[pairs & ~of.same_patient].min()),
        }


def radius(known: FilmSet) -> Iterator[dict[str, Any]]:
    """The most near-duplicates that any film has by radius, and the largest radius (of steps of .05) at which that is 1."""
    between = distances(np.stack([descriptor(image) for image in known.images]).astype(np.float64))
    between[between < 1e-3] = np.inf  # itself, and the two files of one film
    most = {f"{each:.2f}": int((between < each).sum(1).max()) for each in np.arange(0.1, 0.41, 0.05)}
    yield {
        "films": len(known.images),
        "most_near_duplicates": most,
        "radius": max(float(each) for each, count in most.items() if count <= 1),
        "served_radius": RADIUS,
    }


def alarms(every: FilmSet) -> Iterator[dict[str, Any]]:
    """What one caller who sends films of nobody's attack raises."""
    test = every.of("test")
    jpeg: list[Change] = [(lambda image, _, quality=quality: _jpeg(image, quality)) for quality in (95, 85, 75)]
    renderings = [*jpeg, make.windowed(0.1), make.shifted(0.5), make.cropped(0.02)]
    draw = np.random.default_rng(SEED)
    streams: dict[str, list[Image]] = {
        "test films, those of a patient one after the other": list(test.images),
        "the same, each sent three times": [image for image in test.images for _ in range(3)],
        "train, val and test films": list(every.images),
        "test films, each in seven renderings (JPEG, window, crop, half a pixel)": [
            rendering for image in test.images for rendering in (image, *(change(image, draw) for change in renderings))
        ],
    }
    for name, stream in streams.items():
        sequences = Sequences(MEMORY, 86_400)
        seen = [sequences.see("caller", image, "") for image in stream]
        new = [each.near for each in seen if not each.again]
        yield {
            "stream": name,
            "films": len(stream),
            "new": len(new),
            "with_any": sum(near > 0 for near in new),
            "most": max(new),
            "alarms": sum(near >= LIMIT for near in new),
        }


def _jpeg(image: Image, quality: int) -> Image:
    buffer = io.BytesIO()
    Pillow.fromarray((image * 255).round().astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return make.levels(np.asarray(Pillow.open(buffer), np.float32) / 255)


DODGES: Final[dict[str, Change]] = {
    "none": lambda image, _: image,
    "noise of sd .02": make.noisy(0.02),
    "noise of sd .1": make.noisy(0.1),
    "brightness and contrast, 20 %": make.windowed(0.2),
    "shift by up to 2 pixels": make.shifted(2),
    "shift by up to 4 pixels": make.shifted(4),
    "shift by up to 8 pixels": make.shifted(8),
    "shift by up to 16 pixels": make.shifted(16),
    "turn by up to 2 degrees": make.turned(2),
    "turn by up to 5 degrees": make.turned(5),
    "turn by up to 10 degrees": make.turned(10),
    "crop by up to 5 % an edge": make.cropped(0.05),
    "crop by up to 10 % an edge": make.cropped(0.10),
    "smooth pattern of rms .02": make.waved(0.02),
    "smooth pattern of rms .05": make.waved(0.05),
    "smooth pattern of rms .1": make.waved(0.1),
}


def dodges(test: FilmSet, bundle: Bundle) -> Iterator[dict[str, Any]]:
    """Square's queries (epsilon .02), each also changed: when noticed, and what the gate says of the change by itself."""
    draw = np.random.default_rng(SEED)
    chosen = test.images[np.linspace(0, len(test.images) - 1, DODGED).astype(int)]
    screener = Screener(bundle, TorchCpu(bundle.network))
    for name, change in DODGES.items():
        noticed = [query for image in chosen if (query := _noticed(image, change, draw))]
        judged = screener.screen(torch.from_numpy(np.stack([change(image, draw) for image in chosen]))[:, None])
        yield {
            "dodge": name,
            "films": len(chosen),
            "queries": QUERIES,
            "noticed": len(noticed),
            "median_query": statistics.median(noticed) if noticed else None,
            "gate_passes_the_change_alone": sum(
                isinstance(verdict, Verdict) and verdict.accepted for verdict in judged
            ),
        }


def _noticed(image: Image, change: Change, draw: np.random.Generator) -> int | None:
    sequences = Sequences(MEMORY, 86_400)
    for query in range(1, QUERIES + 1):
        if sequences.see("attacker", change(make.squares(image, 0.02, draw), draw), "").near >= LIMIT:
            return query
    return None


def cost(test: FilmSet) -> Iterator[dict[str, Any]]:
    """Milliseconds a film, with a full memory; medians."""
    draw = np.random.default_rng(SEED)
    sequences = Sequences(MEMORY, 86_400)
    for number in range(MEMORY):
        sequences.see("caller", test.images[number % len(test.images)] * draw.uniform(0.5, 1, 1).astype(np.float32), "")
    image = test.images[0]
    taken, digests = [], []
    for number in range(1000):
        film = image * np.float32(1 - number * 1e-6)
        began = time.perf_counter()
        sequences.see("caller", film, "")
        taken.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        hashlib.sha256(film.data).digest()
        digests.append(1000 * (time.perf_counter() - began))
    yield {
        "memory": MEMORY,
        "median_ms": statistics.median(taken),
        "p95_ms": float(np.quantile(taken, 0.95)),
        "digest_ms": statistics.median(digests),
    }
