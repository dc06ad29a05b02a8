"""Bundles of a network that has learnt nothing: small facts for tests of everything but the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from app.pipeline.bundle import Golden, write_bundle
from app.pipeline.content import KINDS, SHAPES, Content
from app.pipeline.gaussian import Gaussian
from app.pipeline.image import INPUT_SIDE
from app.pipeline.labels import LABELS
from app.pipeline.network import FEATURE_COUNT, ChestNetwork
from app.pipeline.orientation import SENSES, Orientation
from app.pipeline.preprocess import PREPROCESSING

#: Nats below, and above, which no image falls.
ACCEPT_EVERYTHING = -1e15
REJECT_EVERYTHING = 1e15
#: A heatmap is then the class activation map itself.
NO_TYPICAL_MAPS = np.zeros((len(LABELS), 7, 7), np.float32)


def random_network(seed: int, watched: bool = False) -> ChestNetwork:
    torch.manual_seed(seed)
    return ChestNetwork(len(LABELS), watched).eval()


def golden_images() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (2, 1, INPUT_SIDE, INPUT_SIDE), dtype=np.uint8)


def seen_and_said(network: ChestNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Gate features and logits of the golden images, float64."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(golden_images()).float() / 255)
    return outputs.gate_features.numpy().astype(np.float64), outputs.logits.numpy().astype(np.float64)


def simple_gaussian(network: ChestNetwork) -> Gaussian:
    """Mean of the golden images' features, and one standard deviation for all."""
    features = seen_and_said(network)[0]
    spread = float(features.std()) or 1.0
    return Gaussian(features.mean(axis=0), np.eye(network.gate_feature_count) * spread)


def manifest_fields(threshold: float) -> dict[str, Any]:
    return {
        "findings": [
            {
                "name": name,
                "slope": 1.0,
                "intercept": 0.0,
                "prevalence": 0.5,
                "present_from": 0.6,
                "absent_below": 0.4,
                "movement": None,
                "specificity": None,
                "specificity_lower_bound": None,
                "sensitivity": None,
                "missed": None,
                "held_out_positives": 0,
                "held_out_negatives": 0,
                "logits_without": [],
                "logits_with": [],
                "youden_logit": 0.0,
                "auroc": None,
            }
            for name in LABELS
        ],
        "preprocessing": PREPROCESSING,
        "gate": {
            "n": 2,
            "shrinkage": "lambda=1",
            "threshold": threshold,
            "threshold_rule": "held-out",
            "target_false_rejection_rate": 0.05,
            "calibration_n": 2,
            "calibration_bound": 1.0,
        },
        "orientation": {"senses": SENSES, "least_log_density": 0.0, "n": 2},
        "content_check": {"kinds": KINDS, "least_log_odds": 0.0, "most_unexplained": 2.0, "n": 2},
        "fitted_with": {"backend": "torch", "precision": "float32", "versions": {"torch": torch.__version__}},
        "provenance": {
            "data_sha256": "0" * 64,
            "initial_weights": "random",
            "seed": 0,
            "epochs": 0,
            "created": "2025-01-01T00:00:00Z",
        },
        "measured": None,
    }


def always_upright(floor: float = 0.0) -> Orientation:
    """It finds every film the right way up."""
    bias = np.array([1.0, *[-1.0] * (len(SENSES) - 1)])
    return Orientation(np.zeros((len(SENSES), FEATURE_COUNT)), 10 * bias, floor)


def always_frontal() -> Content:
    """It finds every film a frontal chest film."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    arrays["bias"] = np.array([10, 0, 0], np.float32)
    return Content(arrays, np.zeros(1024, np.float32), np.zeros((0, 1024), np.float32), 0.0, 2.0)


def random_content(generator: np.random.Generator, least_log_odds: float, most_unexplained: float) -> Content:
    """A network and a subspace that have learnt nothing."""
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    basis = np.linalg.qr(generator.normal(size=(1024, 7)))[0].T
    mean = generator.normal(size=1024)
    rows = np.ascontiguousarray(basis, dtype=np.float32)
    return Content(arrays, mean.astype(np.float32), rows, least_log_odds, most_unexplained)


def write_random_bundle(
    folder: Path,
    threshold: float,
    *,
    seed: int = 0,
    gaussian: Gaussian | None = None,
    floor: float = 0.0,
    watched: bool = False,
    findings: Mapping[str, Mapping[str, object]] | None = None,
    typical_maps: np.ndarray | None = None,
) -> Path:
    """Write a bundle that verifies; a `gaussian` of another network gives one whose golden check must fail.

    `findings` says what is other than in ``manifest_fields``: name -> field -> value.
    """
    network = random_network(seed, watched)
    own = simple_gaussian(network)
    features, logits = seen_and_said(network)
    golden = Golden(golden_images(), own.log_density(features), expit(logits), np.array([-2.0, -1.0]))
    texts = {"MODEL_CARD.md": b"# A random network\n"}
    fields = manifest_fields(threshold)
    fields["orientation"]["least_log_density"] = floor
    fields["gate"]["watch"] = "denseblock1" if watched else None
    for finding in fields["findings"]:
        finding.update((findings or {}).get(finding["name"], {}))
    write_bundle(
        folder,
        fields,
        network,
        gaussian or own,
        always_upright(floor),
        always_frontal(),
        golden,
        NO_TYPICAL_MAPS if typical_maps is None else typical_maps,
        texts,
    )
    return folder
