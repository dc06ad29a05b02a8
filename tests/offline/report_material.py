"""A made-up evaluation of the right shape: numbers for tests of the report, and of nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.pipeline import LABELS
from offline.report.reading import PAPER_ATTACKS

N = 60
DETECTORS = ("mgm-lambda", "mgm-ledoit-wolf", "isolation-forest", "one-class-svm", "logistic-regression")
INFORMED = {"selective": 0.9, "orthogonal": 0.93, "joint": 0.45, "feature-constraint": 0.6}
EPSILONS = (1 / 255, 2 / 255, 4 / 255, 0.02, 8 / 255)


def estimate(value: float, half: float = 0.04) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)}


def attack(share: float, *, seen: bool = False) -> dict[str, Any]:
    return {
        "n": N,
        "detected": round(N * share),
        "seen": seen,
        "detection_rate": estimate(share),
        "accuracy": estimate((share + 0.95) / 2),
        "f1": estimate(2 * share / (share + 1.05)),
        "detection_auroc": estimate(0.5 + share / 2),
        "detection_at": [
            {
                "false_rejection_rate": level,
                "held_out": None if level < 0.01 else estimate(share),
                "held_out_false_rejection_rate": None if level < 0.01 else estimate(level),
                "on_roc": share,
            }
            for level in (0.001, 0.005, 0.01, 0.05)
        ],
        "passed_auroc": area(0.7812) if share < 1 else _none(),
        "passed": 60,
        "coverage": estimate(0.5),
    }


def area(mean: float) -> dict[str, Any]:
    return {"mean": mean, "deviation": 0.0613, "findings": 13, "low": mean - 0.05, "high": mean + 0.05}


def _none() -> dict[str, Any]:
    return {"mean": None, "deviation": float("nan"), "findings": 0, "low": None, "high": None}


def evaluation() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    minimal = [f"minimal {goal} {k}/255" for goal in ("hide", "invent") for k in (1, 2)]
    detectors = []
    for name in DETECTORS:
        supervised = name == "logistic-regression"
        shares = {a: 1.0 if "FGSM" not in a else 0.9333 for a in PAPER_ATTACKS} | dict.fromkeys(minimal, 0.35)
        detectors.append(
            {
                "detector": name,
                "supervised": supervised,
                "trained_on": "white-box FGSM" if supervised else None,
                "target": 0.05,
                "threshold": {"value": -700.0, "bound": 0.083},
                "fitting_films": 1151,
                "calibration_films": 210,
                "test_films": N,
                "test_patients": 41,
                "false_rejections": 4,
                "false_rejection_rate": estimate(4 / N),
                "clean_passed_auroc": area(0.79),
                "clean_coverage": estimate(56 / N),
                "attacks": {a: attack(s, seen=supervised and a == "white-box FGSM") for a, s in shares.items()},
            }
        )
    return {
        "preset": "quick",
        "model_version": None,
        "run": "synthetic",
        "seed": 0,
        "created": "2026-01-01T00:00:00Z",
        "versions": {"torch": "2.12.0", "numpy": "2.3.0"},
        "machine": "two cores",
        "seconds": {"features": 31.2, "attacks": 95.0},
        "films": {"train": 1151, "val": 210, "test": N, "test_patients": 41, "aware": 24, "native": 12},
        "gate": {"threshold": -700.0, "shrinkage": "lambda", "target": 0.05, "bound": 0.083},
        "clean": {
            "mean_auroc": estimate(0.7714, 0.03),
            "weighted_auroc": area(0.7923),
            "false_rejection_rate": estimate(4 / N),
            "false_rejections": 4,
            "auroc": {label: 0.7 + 0.01 * i for i, label in enumerate(LABELS)},
        },
        "no_defence": {a: area(0.61 + 0.01 * i) for i, a in enumerate(PAPER_ATTACKS)},
        "extraction": {
            "films": 1151,
            "images_per_second": 24.5,
            "chest_xray14_images": 112120,
            "chest_xray14_hours": 1.27,
        },
        "substitutes": [
            {
                "name": "distilled",
                "arch": "resnet50",
                "learned_from": "answers",
                "initial_weights": "none",
                "films": 1100,
                "epochs": 10,
                "constant_mean_absolute_difference": 0.072,
                "val_mean_absolute_difference": 0.0521,
                "val_same_top_finding": 0.7,
                "val_correlation": 0.66,
                "transfer": [
                    {"epsilon": epsilon, "films": N, "changed": 40, "accepted": 21, "passed": 7}
                    for epsilon in (2 / 255, 0.02, 0.05)
                ],
            },
            {
                "name": "labelled",
                "arch": "resnet50",
                "learned_from": "labels",
                "initial_weights": "none",
                "films": 1151,
                "epochs": 8,
                "val_auroc": 0.61,
                "transfer": [{"epsilon": 0.05, "films": N, "changed": 11, "accepted": 5, "passed": 2}],
            },
        ],
        "detectors": detectors,
        "learning_curve": [
            {
                "detector": name,
                "n": n,
                "seed": seed,
                "false_rejection_rate": 0.05 + float(generator.uniform(0, 0.02)),
                "detection_rate": {"white-box FGSM": 1 - 30 / n, "white-box PGD": 1.0},
            }
            for name in ("mgm-lambda", "pca-mgm")
            for n in (100, 200, 400, 800)
            for seed in (0, 1, 2)
        ],
        "aware": [
            aware(attacker, True, goal, epsilon, size, min(1.0, share + 2 * epsilon))
            for attacker, share in INFORMED.items()
            for goal in ("hide", "invent")
            for size, epsilons in ((224, EPSILONS), (1024, EPSILONS[1:3]))
            for epsilon in epsilons
        ]
        + [aware("minimal", False, goal, epsilon, 224, 0.6) for goal in ("hide", "invent") for epsilon in EPSILONS],
        "sanity": [
            {"attacker": "selective", "check": "more steps", "passed": True, "detail": "evaded of 20: 12, 15, 19"},
            {"attacker": "joint", "check": "unbounded epsilon", "passed": False, "detail": "19 of 20"},
        ],
        "libraries": [
            {
                "attack": name,
                "library": "ART",
                "goal": "hide",
                "epsilon": 0.02,
                "films": 24,
                "eligible": 24,
                "evaded": 3,
                "goal_reached": 24,
                "evasion_rate": estimate(0.125, 0.1),
            }
            for name in ("APGD", "Square", "DeepFool")
        ],
        "harmless": [
            {"change": name, "films": N, "rejected": round(N * share), "false_rejection_rate": estimate(share, 0.05)}
            for name, share in (
                ("JPEG, quality 75", 0.05),
                ("noise, sd .01", 0.74),
                ("rotation by 90°", 0.96),
                ("gamma .8", 0.27),
            )
        ],
        "orientation": [
            {"film": name, "films": N, "unsuitable": count, "rejected": 3, "passed": N - count - 3}
            for name, count in (("clean", 0), ("upside down", 57), ("attacked, white-box BIM", 1))
        ],
        "groups": [
            {"group": name, "films": 20, "rejected": round(20 * share), "false_rejection_rate": estimate(share, 0.05)}
            for name, share in (("view: PA", 0.02), ("view: AP", 0.11), ("age: under 20", 0.2), ("sex: F", 0.05))
        ],
    }


def aware(attacker: str, informed: bool, goal: str, epsilon: float, size: int, share: float) -> dict[str, Any]:
    share = round(20 * share) / 20
    return {
        "attacker": attacker,
        "informed": informed,
        "goal": goal,
        "epsilon": epsilon,
        "size": size,
        "films": 24,
        "eligible": 20,
        "goal_reached": 20,
        "evaded": round(20 * share),
        "evasion_rate": estimate(share, 0.1),
        "clean_accepted": 23,
        "probability_change": 0.314,
        "grey_change": 0.27,
        "steps_mean": 57.0,
    }


def arrays(features: int = 32) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(1)
    base = generator.normal(size=(N, features)).astype(np.float32)
    made: dict[str, NDArray[Any]] = {
        "scores/val": generator.normal(-400, 150, 210),
        "scores/test": generator.normal(-420, 150, N),
        "features/test": base,
    }
    for index, name in enumerate([*PAPER_ATTACKS, "minimal hide 2/255"]):
        minimal = name.startswith("minimal")
        made[f"scores/{name}"] = -650 - np.exp(generator.normal(4 if minimal else 8 + index / 4, 0.5 + minimal, N))
        made[f"features/{name}"] = base + np.float32(0.3 if minimal else 2 + index / 2)
    x, y = np.meshgrid(np.linspace(-1, 1, 224), np.linspace(-1, 1, 224))
    clean = np.clip(
        0.8 - 0.6 * (np.hypot(3 * (np.abs(x) - 0.4), y) < 0.7) + 0.05 * generator.normal(size=x.shape), 0, 1
    )
    made["example/clean"] = clean.astype(np.float32)
    made["example/attacked"] = np.clip(clean + 0.008 * np.sign(generator.normal(size=x.shape)), 0, 1).astype(np.float32)
    made["example/maps_clean"] = generator.uniform(size=(8, 7, 7)).astype(np.float32)
    made["example/maps_attacked"] = generator.uniform(size=(8, 7, 7)).astype(np.float32)
    made["example/probabilities_clean"] = generator.uniform(size=len(LABELS))
    made["example/probabilities_attacked"] = generator.uniform(size=len(LABELS))
    made["example/scores"] = np.array([-500.0, -9000.0])
    return made
