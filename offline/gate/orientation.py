"""Fit the model that distinguishes turned and inverted films from upright films, on features of clean films alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from tqdm import tqdm

from app.pipeline.gate import Gate
from app.pipeline.network import ChestNetwork
from app.pipeline.orientation import SENSES, Orientation

from ..data.films import Film, of_split
from ..data.loading import in_order
from ..run import Run, weights_sha256
from .features import joined, parted

FILMS: Final = 400  # each in every sense; with more films the held-out results did not change
BATCH: Final = 16
#: scikit-learn's inverse penalty, on standardised features.
PENALTY: Final = 1e-2
#: The floor is this percentile of the log densities of turned held-out films. The gate judges films below it.
LEAST_PERCENTILE: Final = 1.0


def in_every_sense(images: Tensor) -> dict[str, list[Tensor]]:
    """Images, shape (N, 1, H, W), in [0,1] -> sense -> a list of one or two changed batches.

    A film may be upside down after a half turn, or after a vertical mirror.
    """
    upright, left, right, upside_down, inverted = SENSES
    return {
        upright: [images],
        left: [torch.rot90(images, 1, (-2, -1))],
        right: [torch.rot90(images, -1, (-2, -1))],
        upside_down: [torch.rot90(images, 2, (-2, -1)), images.flip(-2)],
        inverted: [1 - images],
    }


def features_in_every_sense(
    network: nn.Module, films: list[Film], device: torch.device, workers: int, title: str
) -> dict[str, NDArray[np.float32]]:
    """Sense -> N or 2 N rows of ``joined`` features."""
    found: dict[str, list[NDArray[np.float32]]] = {sense: [] for sense in SENSES}
    with torch.inference_mode(), tqdm(total=len(films), desc=f"turning {title}", unit="film") as progress:
        for images, _ in in_order(films, batch_size=BATCH, workers=workers):
            for sense, turned in in_every_sense(images).items():
                found[sense] += [joined(network(one.contiguous().to(device))).cpu().numpy() for one in turned]
            progress.update(len(images))
    return {sense: np.concatenate(parts) for sense, parts in found.items()}


def fit_model(features: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (senses, 1024) and bias (senses,) for unscaled features; they include the scaling."""
    values = np.concatenate([features[sense] for sense in SENSES]).astype(np.float64)
    senses = np.repeat(np.arange(len(SENSES)), [len(features[sense]) for sense in SENSES])
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=PENALTY, max_iter=5000, class_weight="balanced").fit(scaler.transform(values), senses)
    weights = model.coef_ / scaler.scale_
    return weights, model.intercept_ - weights @ scaler.mean_


def counted(
    orientation: Orientation, gate: Gate, features: NDArray[np.float32], gate_features: NDArray[np.float32]
) -> dict[str, int]:
    """Counts of films that are refused for their sense, otherwise rejected by the gate, otherwise passed."""
    densities = gate.log_density(gate_features)
    faulty = np.array([fault is not None for fault in orientation.faults(features, densities)])
    rejected = densities < gate.threshold
    return {
        "films": len(features),
        "unsuitable": int(faulty.sum()),
        "rejected": int((rejected & ~faulty).sum()),
        "passed": int((~rejected & ~faulty).sum()),
    }


def fit_orientation(
    run: Run,
    network: ChestNetwork,
    gate: Gate,
    films: list[Film],
    device: torch.device,
    workers: int,
) -> dict[str, Any]:
    """Fit on training films, set the floor with held-out films, count on held-out and test films; write all into `run`.

    Stored features of this network in `run` are reused. The gate does not change the model, only the floor.

    Returns
    -------
    dict
        The record: for val and test, sense -> counts of films unsuitable, rejected by the gate, passed.
    """
    sha256 = weights_sha256(network)
    train = of_split(films, "train")
    chosen = {
        "train": train[:: max(1, len(train) // FILMS)],
        "val": of_split(films, "val"),
        "test": of_split(films, "test"),
    }
    seen = {
        split: {sense: parted(rows) for sense, rows in turned.items()}
        for split, turned in (
            (split, _reused(run, split, part, network, sha256, device, workers)) for split, part in chosen.items()
        )
    }
    weights, bias = fit_model({sense: features for sense, (features, _) in seen["train"].items()})
    turned_gate_features = np.concatenate([seen["val"][sense][1] for sense in SENSES[1:]])
    floor = float(np.percentile(gate.log_density(turned_gate_features), LEAST_PERCENTILE))
    orientation = Orientation(weights, bias, floor)
    run.orientation.write({"weights": weights, "bias": bias})
    record: dict[str, Any] = {
        "n": len(chosen["train"]),
        "least_log_density": floor,
        "network_sha256": sha256,
        **{
            split: {sense: counted(orientation, gate, *seen[split][sense]) for sense in SENSES}
            for split in ("val", "test")
        },
    }
    run.orientation_record.write(record)
    return record


def load_orientation(run: Run) -> tuple[Orientation, dict[str, Any]]:
    """Read the results of ``fit_orientation``.

    Raises
    ------
    FilmsError
        The run has not been fitted.
    """
    record, arrays = run.orientation_record.read(), run.orientation.read()
    return Orientation(arrays["weights"], arrays["bias"], record["least_log_density"]), record


def _reused(
    run: Run, split: str, films: list[Film], network: ChestNetwork, sha256: str, device: torch.device, workers: int
) -> dict[str, NDArray[np.float32]]:
    path = run.turned(split)
    names = np.array([film.path.name for film in films])
    if path.is_file():
        stored = dict(np.load(path))
        same = str(stored.pop("network")) == sha256 and np.array_equal(stored.pop("names"), names)
        if same:
            return stored
    features = features_in_every_sense(network.to(device), films, device, workers, split)
    np.savez(path, network=np.array(sha256), names=names, **features)  # type: ignore[arg-type]
    return features
