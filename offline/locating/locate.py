"""Boxes, films and a network -> how often each map's strongest place lies in the box, compared with fixed points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binomtest
from tqdm import tqdm

from app.pipeline import Bundle, film_tensor
from app.pipeline.calls import Calls
from app.pipeline.exposed_field import ExposedField
from app.pipeline.heatmap import Heatmap, class_activation_maps
from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork

from ..bundles.typical import load_typical_maps
from ..calls import load_calls
from ..data.films import Film
from ..data.loading import load_decoded
from ..run import Run, write_json
from .boxes import ORIGINAL_SIDE, Box
from .maps import SERVED, maps_of
from .measures import (
    MARGIN,
    STRONGEST_SHARE,
    TOLERANCE,
    Map,
    Point,
    hits,
    on_original,
    outside_the_chest,
    overlap,
    strongest,
)

REPORT: Final = "located.json"
#: (column, row) in the exposed field, in [0, 1].
POINTS: Final[dict[str, Point]] = {
    "middle of the film": (0.5, 0.5),
    "middle of the lung at the film's left": (0.28, 0.5),
    "middle of the lung at the film's right": (0.72, 0.5),
}
MEAN_BOX, BEST_POINT, ANOTHER_FILM = (
    "mean box of other patients",
    "best point for other patients",
    "map of another film",
)
#: Pixels of the original between the points of which the best for other patients is chosen.
_GRID: Final = 32


@dataclass(frozen=True)
class Explained:
    """The network and calibration that make heatmaps.

    Attributes
    ----------
    name : str
        Name in the report.
    network : ChestNetwork
    typical_maps : ndarray, shape (L, 7, 7)
    calls : Calls
    data : str
        Digest of the films that the network was trained on (``films.fingerprint``).
    """

    name: str
    network: ChestNetwork
    typical_maps: NDArray[np.float32]
    calls: Calls
    data: str

    @classmethod
    def of_run(cls, run: Run) -> Explained:
        """A run after ``calibrate``.

        Raises
        ------
        FilmsError
            A step is missing.
        """
        data = run.training.read()["data"]
        return cls(run.folder.name, run.network(), load_typical_maps(run), Calls(load_calls(run)[0]), data)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Explained:
        """The served network and calibration."""
        manifest = bundle.manifest
        return cls(
            manifest.model_version, bundle.network, bundle.typical_maps, bundle.calls, manifest.provenance.data_sha256
        )


@dataclass(frozen=True)
class Located:
    """One box: its film's field, and every map of its finding."""

    box: Box
    field: ExposedField
    maps: dict[str, Map]

    def place(self, name: str) -> Point | None:
        """The strongest place of a map, in the field."""
        return strongest(self.maps[name])

    def is_hit(self, place: Point | None) -> bool:
        """Whether a place in the field lies in the box."""
        return place is not None and hits(on_original(place, self.field), self.box)


def locate(
    explained: Explained, films: Sequence[Film], boxes: Sequence[Box], output: Path, *, data: str, device: torch.device
) -> tuple[dict[str, Any], list[Located]]:
    """Measure every map on every box, and how many findings stand out on `films`; write ``located.json`` into `output`.

    Parameters
    ----------
    films : sequence of Film
        Films that made neither the network nor the points, for how often a heatmap shows something.
    data : str
        Digest of all films of the folder. It shows whether the network was trained on the folder's train split.
    """
    network = explained.network.to(device).eval()
    located = []
    for box in tqdm(boxes, desc="boxes", unit="box"):
        decoded = load_decoded(box.film.path)
        tensor = film_tensor(decoded).to(device)
        located.append(
            Located(box, decoded.field, maps_of(network, tensor, box.finding, explained.typical_maps[box.finding]))
        )
    groups = {
        "all": located,
        "trained on": [one for one in located if one.box.film.split == "train"],
        "not trained on": [one for one in located if one.box.film.split != "train"],
    }
    report = {
        "subject": explained.name,
        "split_is_the_networks": explained.data == data,
        "tolerance_pixels_of_the_original": TOLERANCE,
        "overlap_of_the_strongest_share": STRONGEST_SHARE,
        "outside_the_chest_margin": MARGIN,
        "served": SERVED,
        "groups": {name: _group(its, located) for name, its in groups.items() if its},
        "localised": localised(explained, films, device),
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / REPORT, report)
    return report, located


def localised(explained: Explained, films: Sequence[Film], device: torch.device) -> dict[str, dict[str, int]]:
    """Counts by call: answers (one for each finding and film), and answers with a place of the film that stands out."""
    network, counts = explained.network, {"answers": Counter[str](), "localised": Counter[str]()}
    bias = network.classifier.bias.detach().cpu().numpy()
    typical = explained.typical_maps.mean((1, 2)) + bias
    for film in tqdm(films, desc="heatmaps that show something", unit="film"):
        maps = class_activation_maps(network, film_tensor(load_decoded(film.path)).to(device))
        words = explained.calls.words(expit(explained.calls.log_odds(maps.mean((1, 2)) + bias)))
        for finding, word in enumerate(words):
            point = explained.calls.present_logit(finding)
            rise = None if point is None else point - float(typical[finding])
            counts["answers"][word] += 1
            counts["localised"][word] += Heatmap(maps[finding] - explained.typical_maps[finding], rise).localised
    return {word: {name: count[word] for name, count in counts.items()} for word in sorted(counts["answers"])}


def _group(located: Sequence[Located], pool: Sequence[Located]) -> dict[str, Any]:
    """The report on some of the boxes; baselines learn from the pool."""
    of_finding = {
        LABELS[finding]: {
            "boxes": len(its),
            "hits": sum(one.is_hit(one.place(SERVED)) for one in its),
        }
        for finding in sorted({one.box.finding for one in located})
        for its in [[one for one in located if one.box.finding == finding]]
    }
    return {
        "boxes": len(located),
        "patients": len({one.box.film.patient for one in located}),
        "maps": {name: _row(name, located) for name in located[0].maps},
        "baselines": _baselines(located, pool),
        "findings": of_finding,
    }


def _row(name: str, located: Sequence[Located]) -> dict[str, Any]:
    places = [one.place(name) for one in located]
    count = sum(one.is_hit(place) for one, place in zip(located, places, strict=True))
    interval = binomtest(count, len(located)).proportion_ci(0.95, "wilson")
    return {
        "hits": count,
        "hit_rate": count / len(located),
        "interval": [float(interval.low), float(interval.high)],
        "overlap": float(np.mean([overlap(one.maps[name], one.box, one.field) for one in located])),
        "empty": sum(place is None for place in places),
        "outside_the_chest": sum(outside_the_chest(place) for place in places),
    }


def _baselines(located: Sequence[Located], pool: Sequence[Located]) -> dict[str, float]:
    """Hit rates of points and maps that do not use the film."""
    rates = {name: float(np.mean([one.is_hit(point) for one in located])) for name, point in POINTS.items()}
    for name, point_of in ((MEAN_BOX, _mean_centre), (BEST_POINT, _best_point)):
        found = [hits(point_of(_others(one, pool)), one.box) for one in located if _others(one, pool)]
        if found:
            rates[name] = float(np.mean(found))
    swapped = [
        float(np.mean([one.is_hit(other.place(SERVED)) for other in others]))
        for one in located
        if (others := [other for other in _others(one, pool) if other.box.finding == one.box.finding])
    ]
    if swapped:
        rates[ANOTHER_FILM] = float(np.mean(swapped))
    return rates


def _others(one: Located, pool: Sequence[Located]) -> list[Located]:
    """Boxes of other patients with the same finding, or with any finding if no other patient has it."""
    others = [each for each in pool if each.box.film.patient != one.box.film.patient]
    return [each for each in others if each.box.finding == one.box.finding] or others


def _mean_centre(others: Sequence[Located]) -> Point:
    centres = np.array([other.box.centre for other in others])
    return float(centres[:, 0].mean()), float(centres[:, 1].mean())


def _best_point(others: Sequence[Located]) -> Point:
    """The point that lies in most boxes; among several the one nearest to the boxes' mean centre."""
    column, row = _mean_centre(others)
    steps = np.arange(_GRID // 2, ORIGINAL_SIDE, _GRID, dtype=float)
    points = sorted(
        ((float(x), float(y)) for x in steps for y in steps),
        key=lambda point: np.hypot(point[0] - column, point[1] - row),
    )
    return max(points, key=lambda point: sum(hits(point, other.box) for other in others))  # the first of several
