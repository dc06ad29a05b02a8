"""Measure a network's calls: how far attackers move its logits, the band that this needs, and the answers in the band.

A less hardened network is more accurate but needs a wider band, which leaves more answers indeterminate. So accuracy, band and
attackers' success are measured together. Points and band come from val films; calls are counted on test films.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.pipeline.labels import LABELS
from app.pipeline.manifest import Finding
from offline.calls import CallOptions, measure_calls
from offline.calls.calibration import calibrate
from offline.calls.fitting import findings_of
from offline.calls.movement import EPSILON, FURTHEST, Movement, measure_movement
from offline.calls.prevalence import CHEST_XRAY14, read_prevalence
from offline.data.films import Film, Split, fingerprint, of_split, patients_of, some_of, targets_of
from offline.detectors.measures import bootstrap_weights, drawn_auroc, estimate
from offline.evaluation.observing import load_images, to_images
from offline.metrics import mean_auroc
from offline.run import Run, weights_sha256

Logits = Mapping[Split, NDArray[np.floating]]

#: Largest changes of a pixel, rising; the last one sets the width of the band.
MOVED_WITHIN: Final = (1 / 255, EPSILON)
#: Of ``measure_calls``, what the table needs.
_COUNTED: Final = (
    "films",
    "films_without_findings",
    "findings_called",
    "false_calls_on_a_film_without_findings",
    "films_without_findings_with_a_call",
    "indeterminate",
    "precision_of_present",
)


def paired_loss(films: list[Film], trained: NDArray[np.floating], served: NDArray[np.floating]) -> dict[str, float]:
    """Mean AUROC that is lost between two networks on the same films, with its 95 % bootstrap interval over patients.

    Parameters
    ----------
    trained, served : ndarray, shape (N, L)
        Logits; over 0 where `served` is the less accurate.
    """
    targets = targets_of(films)
    weights = bootstrap_weights(patients_of(films), 1000, 0)
    lost = drawn_auroc(targets, trained, weights) - drawn_auroc(targets, served, weights)
    defined = ~np.isnan(lost).all(axis=1)
    return asdict(
        estimate(mean_auroc(targets, trained) - mean_auroc(targets, served), np.nanmean(lost[defined], axis=1))
    )


def called(
    network: nn.Module,
    run: Run,
    films: list[Film],
    logits: Logits,
    device: torch.device,
    movement_films: int,
    furthest: int = FURTHEST,
) -> tuple[list[Finding], dict[str, Any]]:
    """How ``fit_calls`` would call findings, and the results.

    Parameters
    ----------
    network : Module
        In eval mode, on the device.
    run : Run
        Stores the movements: a killed run resumes, and movements from ``cxr-offline calibrate`` are not measured again.
    logits : mapping
        Logits of the val and test films, shape (N, L).
    movement_films : int
        Val films, evenly spread, on which an attacker moves each logit.
    furthest : int
        As in ``measure_movement``.

    Returns
    -------
    list of Finding
        With points at the usual specificity, and a band as wide as the movement within 2/255.
    dict
        JSON: ``movement`` for each budget, in logits and in deviations of each logit over val films; ``band``; the counts on
        test films.
    """
    val, test = of_split(films, "val"), of_split(films, "test")
    values, targets = np.asarray(logits["val"], np.float64), targets_of(val)
    movements = _movements(network, run, films, val, device, movement_films, furthest)
    wanted = read_prevalence(CHEST_XRAY14)
    calibration = calibrate(values, targets, patients_of(val)).at(np.array([wanted[name] for name in LABELS]))
    findings = findings_of(values, targets, calibration, CallOptions(), movements[EPSILON])
    measured = measure_calls(findings, np.asarray(logits["test"], np.float64), targets_of(test))
    deviations = np.maximum(values.std(axis=0), 1e-9)
    moved = [_moved(epsilon, movement, deviations) for epsilon, movement in movements.items()]
    band = movements[EPSILON].bounds / deviations
    record: dict[str, Any] = {
        "movement": moved,
        "band": {"mean": float(band.mean()), "widest": float(band.max()), "finding": LABELS[int(band.argmax())]},
        **{name: measured[name] for name in _COUNTED},
    }
    return findings, record


def _movements(
    network: nn.Module,
    run: Run,
    films: list[Film],
    val: list[Film],
    device: torch.device,
    count: int,
    furthest: int,
) -> dict[float, Movement]:
    chosen = some_of(val, count)
    images = to_images(load_images(chosen, "reading val"), torch.device("cpu"))
    # The name that ``fit_calls`` gives it too, where all is as usual.
    usual = f"-{furthest}-furthest" if furthest != FURTHEST else ""
    found = {}
    for epsilon in MOVED_WITHIN:
        otherwise = usual if epsilon == EPSILON else f"{usual}-within-{epsilon * 255:g}"
        kept = run.movement(weights_sha256(network), fingerprint(films), len(chosen), otherwise)
        found[epsilon] = measure_movement(network, images, device, kept, epsilon, furthest)
    return found


def _moved(epsilon: float, movement: Movement, deviations: NDArray[np.float64]) -> dict[str, Any]:
    relative = movement.bounds / deviations
    return {
        "epsilon": epsilon,
        "films": len(movement.films),
        "logits": movement.bounds.tolist(),
        "deviations": relative.tolist(),
        "mean": float(relative.mean()),
    }
