"""Held-out films -> each finding's calibration, points and band, written into the run as ``calls.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import beta

from app.pipeline.labels import LABELS
from app.pipeline.manifest import Finding

from ..data.films import Film, FilmsError, fingerprint, of_split, patients_of, some_of, targets_of
from ..data.loading import load_film
from ..gate.features import saved
from ..options import option, share
from ..run import Run, weights_sha256
from .calibration import Array, Calibration, calibrate
from .movement import Movement, measure_movement
from .prevalence import CHEST_XRAY14, read_prevalence

#: Three films would be no evidence, even if all lay over the median of the others: chance does that in one case of 8.
MIN_POSITIVES: Final = 4
CONFIDENCE: Final = 0.95
PERCENTILES: Final = np.arange(101)


@dataclass(frozen=True)
class CallOptions:
    """How the points are chosen at which findings are called.

    Attributes
    ----------
    specificity : float
        Least specificity of ``present_from`` on the held-out films.
    least_bound : float
        Least lower bound (95 %, one-sided) of that specificity.
    movement_films : int
        Number of val films on which an attacker moves each logit; 0: the movement is not measured.
    band : float or None
        Width of the band in deviations of the logit. None: as wide as the attacker's movement.
    """

    specificity: float = option(0.95, "of 'present'", kind=share)
    least_bound: float = option(0.92, "its lower bound of 95 %% confidence is at least this", kind=share)
    movement_films: int = option(80, "val films on which an attacker moves each logit; 0: not measured")
    band: float | None = option(
        None, "width of the band in deviations of the logit (default: as wide as what the attacker moves)", kind=float
    )


def fit_calls(
    run: Run, films: list[Film], device: torch.device, options: CallOptions, prevalence: Path = CHEST_XRAY14
) -> list[Finding]:
    """Fit on the val films, whose features ``fit`` wrote into the run. Writes the record; returns the manifest's findings.

    Raises
    ------
    FilmsError
        The run was not fitted, or the options give neither a band nor films to measure it on.
    """
    if options.band is None and not options.movement_films:
        raise FilmsError("the band is as wide as what an attacker moves, and no film is to be attacked; give --band")
    val, wanted = of_split(films, "val"), read_prevalence(prevalence)
    logits, targets = saved(run, "val").logits.astype(np.float64), targets_of(val)
    fitted = calibrate(logits, targets, patients_of(val))
    calibration = fitted.at(np.array([wanted[name] for name in LABELS]))
    movement = _movement(run, films, val, device, options.movement_films)
    findings = findings_of(logits, targets, calibration, options, movement)
    run.calls_report.path.unlink(missing_ok=True)  # a kill after this line leaves no report of the earlier calls
    run.calls.write(
        {
            "network_sha256": weights_sha256(run.network()),
            "data": fingerprint(films),
            "options": asdict(options),
            "held_out_films": len(val),
            "prevalences_of_the_held_out_films": dict(zip(LABELS, fitted.prevalences.tolist(), strict=True)),
            "pull_of_the_common_slope": fitted.pull,
            "movement_films": 0 if movement is None else len(movement.films),
            "findings": [finding.model_dump(mode="json") for finding in findings],
        }
    )
    return findings


def load_calls(run: Run) -> tuple[list[Finding], dict[str, Any]]:
    """Read the results of ``fit_calls``: findings, and the whole record.

    Raises
    ------
    FilmsError
        ``fit_calls`` was not run on this run's network.
    """
    record = run.calls.read()
    if record["network_sha256"] != weights_sha256(run.network()):
        raise FilmsError(f"{run.calls.path} is of another network; run 'cxr-offline calibrate --run {run}' again")
    return [Finding.model_validate(finding) for finding in record["findings"]], record


def findings_of(
    logits: Array,
    targets: NDArray[np.floating],
    calibration: Calibration,
    options: CallOptions,
    movement: Movement | None = None,
) -> list[Finding]:
    """The manifest's findings. ``export`` adds the AUROC, since it comes from test films.

    Parameters
    ----------
    logits, targets : ndarray, shape (N, L)
        From films that the network was not trained on.
    """
    return [
        _finding(column, logits[:, column], targets[:, column] > 0, calibration, options, movement)
        for column in range(len(LABELS))
    ]


def _finding(
    column: int,
    logits: Array,
    with_it: NDArray[np.bool_],
    calibration: Calibration,
    options: CallOptions,
    movement: Movement | None,
) -> Finding:
    slope, intercept = float(calibration.slopes[column]), float(calibration.intercepts[column])
    positives, negatives = logits[with_it], logits[~with_it]
    present = _present_from(negatives, options) if len(positives) >= MIN_POSITIVES else None
    moved = None if movement is None else float(movement.bounds[column])
    said: dict[str, float | None] = dict.fromkeys(
        ("present_from", "absent_below", "specificity", "specificity_lower_bound", "sensitivity", "missed")
    )
    if present is not None:
        width = moved if options.band is None else options.band * float(logits.std())
        absent = present - (width or 0.0)
        quiet = int((negatives < present).sum())
        said = {
            "present_from": float(expit(slope * present + intercept)),
            "absent_below": float(expit(slope * absent + intercept)),
            "specificity": quiet / len(negatives),
            "specificity_lower_bound": lower_bound(quiet, len(negatives)),
            "sensitivity": float((positives >= present).mean()),
            "missed": float((positives < absent).mean()),
        }
    return Finding(
        name=LABELS[column],
        slope=slope,
        intercept=intercept,
        prevalence=float(calibration.prevalences[column]),
        movement=moved,
        held_out_positives=len(positives),
        held_out_negatives=len(negatives),
        logits_without=_percentiles(negatives),
        logits_with=_percentiles(positives),
        youden_logit=youden_logit(logits, with_it),
        auroc=None,
        **said,
    )


def _present_from(negatives: Array, options: CallOptions) -> float | None:
    """The lowest point between two films with the wanted specificity and bound; None if there are too few films."""
    order, count = np.sort(negatives), len(negatives)
    for quiet in range(count + 1):
        if quiet >= options.specificity * count and lower_bound(quiet, count) >= options.least_bound:
            below = order[quiet - 1]
            above = order[quiet] if quiet < count else below + 1e-6
            return float((below + above) / 2)
    return None


def lower_bound(successes: int, count: int) -> float:
    """Clopper and Pearson's lower bound of a share, 95 %, one-sided."""
    return float(beta.ppf(1 - CONFIDENCE, successes, count - successes + 1)) if successes else 0.0


def _percentiles(logits: Array) -> tuple[float, ...]:
    return tuple(np.percentile(logits, PERCENTILES).round(5).tolist()) if len(logits) else ()


def youden_logits(logits: NDArray[np.floating], targets: NDArray[np.floating]) -> list[float]:
    """``youden_logit`` of each finding; both arrays have shape (N, L)."""
    return [
        youden_logit(logits[:, column].astype(np.float64), targets[:, column] > 0) for column in range(logits.shape[1])
    ]


def youden_logit(logits: Array, with_it: NDArray[np.bool_]) -> float:
    """The logit with the largest sum of sensitivity and specificity; 0 if all films have the finding, or none has it."""
    if not with_it.any() or with_it.all():
        return 0.0
    candidates = np.unique(logits)
    hit = np.array([(logits[with_it] >= cut).mean() for cut in candidates])
    quiet = np.array([(logits[~with_it] < cut).mean() for cut in candidates])
    return float(candidates[int(np.argmax(hit + quiet))])


def _movement(run: Run, films: list[Film], val: list[Film], device: torch.device, count: int) -> Movement | None:
    if not count:
        return None
    chosen, network = some_of(val, count), run.network().to(device)
    images = torch.stack([load_film(film.path) for film in chosen])
    kept = run.movement(weights_sha256(network), fingerprint(films), len(chosen))
    return measure_movement(network, images, device, kept)
