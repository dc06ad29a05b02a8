"""Measure the calls on the test films. Nothing is chosen here."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from app.pipeline.manifest import Finding

from ..data.films import Film, of_split, targets_of
from ..gate.features import saved
from ..run import Run
from .calibration import Array
from .fitting import load_calls, lower_bound

BINS: Final = 15
_POINTS: Final = ("present_from", "absent_below")
#: Number of label draws from the probabilities themselves. They give a perfect calibration's error on the same few films.
DRAWS: Final = 200
#: Factors of the odds for other prevalences; the films are weighted accordingly.
OTHER_ODDS: Final = (0.25, 0.5, 2.0, 4.0)


def measure_calls(findings: list[Finding], logits: Array, targets: NDArray[np.floating]) -> dict[str, Any]:
    """Calls and calibration on films, as JSON; both arrays have shape (N, L).

    For the calibration, films are weighted so that each finding has its ``prevalence``. Calls are counted without weights.
    """
    truth = targets > 0
    columns = [_finding(finding, logits[:, k], truth[:, k]) for k, finding in enumerate(findings)]
    called = [k for k, finding in enumerate(findings) if finding.present_from is not None]
    present, above = (_calls([findings[k] for k in called], logits[:, called], point) for point in _POINTS)
    clear = ~truth.any(axis=1)
    return {
        "films": len(logits),
        "films_without_findings": int(clear.sum()),
        "findings_called": len(called),
        "false_calls_on_a_film_without_findings": _mean(present[clear].sum(axis=1)),
        "films_without_findings_with_a_call": _mean(np.asarray(present[clear].any(axis=1))),
        "indeterminate": _mean(np.asarray(above & ~present)),
        "precision_of_present": float(truth[:, called][present].mean()) if present.any() else None,
        "calibration_error": {
            name: float(np.mean([row[name] for row in columns]))
            for name in ("calibration_error", "calibration_error_before", "calibration_error_of_chance")
        },
        "brier": {name: float(np.mean([row[name] for row in columns])) for name in ("brier", "brier_before")},
        "other_prevalences": [_elsewhere(findings, logits, truth, odds) for odds in OTHER_ODDS],
        "findings": columns,
    }


def measure_calls_of(run: Run, films: list[Film]) -> dict[str, Any]:
    """``measure_calls`` of a run on its test films, written beside the record.

    Raises
    ------
    FilmsError
        ``fit_calls`` was not run.
    """
    findings, _ = load_calls(run)
    logits = saved(run, "test").logits.astype(np.float64)
    found = measure_calls(findings, logits, targets_of(of_split(films, "test")))
    run.calls_report.write(found)
    return found


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _calls(findings: list[Finding], logits: Array, point: str) -> NDArray[np.bool_]:
    """Whether logits are at or over their finding's point, shape (N, F), for F called findings; F may be 0."""
    return np.asarray(logits >= np.array([finding.logit_of(getattr(finding, point)) for finding in findings]))


def _finding(finding: Finding, logits: Array, truth: NDArray[np.bool_]) -> dict[str, Any]:
    weights = _weights(truth, finding.prevalence)
    odds = finding.slope * logits + finding.intercept
    probability = expit(odds)
    # The uncalibrated probability, shifted to the same prevalence, so that the comparison shows the calibration alone.
    before = expit(logits + logit(finding.prevalence) - logit((truth.sum() + 0.5) / (len(truth) + 1)))
    row: dict[str, Any] = {
        "name": finding.name,
        "positives": int(truth.sum()),
        "negatives": int((~truth).sum()),
        "calibration_error": calibration_error(probability, truth, weights),
        "calibration_error_before": calibration_error(before, truth, weights),
        "calibration_error_of_chance": _of_chance(probability, weights),
        "brier": float(np.average((probability - truth) ** 2, weights=weights)),
        "brier_before": float(np.average((before - truth) ** 2, weights=weights)),
        "reliability": reliability(probability, truth, weights, 5),
        "called": finding.present_from is not None,
    }
    if finding.present_from is not None:
        present, above = (_calls([finding], logits[:, None], point)[:, 0] for point in _POINTS)
        quiet = int((~present[~truth]).sum())
        row |= {
            "called_of_films_with_it": _shares(present, above, truth),
            "called_of_films_without_it": _shares(present, above, ~truth),
            "specificity": quiet / int((~truth).sum()),
            "specificity_lower_bound": lower_bound(quiet, int((~truth).sum())),
            "sensitivity": float(present[truth].mean()) if truth.any() else None,
            "missed": float((~above[truth]).mean()) if truth.any() else None,
            "indeterminate": float((above & ~present).mean()),
        }
    return row


def _shares(present: NDArray[np.bool_], above: NDArray[np.bool_], films: NDArray[np.bool_]) -> dict[str, float] | None:
    if not films.any():
        return None
    called = {"present": present, "indeterminate": above & ~present, "absent": ~above}
    return {call: float(which[films].mean()) for call, which in called.items()}


def _weights(truth: NDArray[np.bool_], prevalence: float) -> Array:
    """Film weights that give the finding this prevalence; all 1 if no film has it, or all have it."""
    share = truth.mean()
    if share in (0.0, 1.0):
        return np.ones(len(truth))
    return np.asarray(np.where(truth, prevalence / share, (1 - prevalence) / (1 - share)))


def calibration_error(probability: Array, truth: NDArray[np.bool_], weights: Array, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal weight (adaptive; Nguyen and O'Connor 2015)."""
    return float(
        sum(
            abs(part["mean"] - part["share"]) * part["weight"]
            for part in reliability(probability, truth, weights, bins)
        )
    )


def reliability(probability: Array, truth: NDArray[np.bool_], weights: Array, bins: int) -> list[dict[str, float]]:
    """Mean probability, share of films with the finding, and share of all weight, in bins of equal weight by probability.

    ``effective_films`` is Kish's effective sample size.
    """
    order = np.argsort(probability, kind="stable")
    until = np.cumsum(weights[order])
    edges = np.searchsorted(until, until[-1] * np.arange(1, bins) / bins * (1 + 1e-12), side="right")
    parts = [part for part in np.split(order, edges) if len(part) and weights[part].sum() > 0]
    return [
        {
            "mean": float(np.average(probability[part], weights=weights[part])),
            "share": float(np.average(truth[part], weights=weights[part])),
            "weight": float(weights[part].sum() / weights.sum()),
            "effective_films": float(weights[part].sum() ** 2 / (weights[part] ** 2).sum()),
        }
        for part in parts
    ]


def _of_chance(probability: Array, weights: Array) -> float:
    generator = np.random.default_rng(0)
    draws = generator.random((DRAWS, len(probability))) < probability
    return float(np.mean([calibration_error(probability, draw, weights) for draw in draws]))


def _elsewhere(findings: list[Finding], logits: Array, truth: NDArray[np.bool_], times: float) -> dict[str, float]:
    """Calibration error if each finding's odds are `times` as high, with probabilities adjusted to that and unadjusted."""
    adjusted, unadjusted = [], []
    for k, finding in enumerate(findings):
        elsewhere = float(expit(logit(finding.prevalence) + np.log(times)))
        weights = _weights(truth[:, k], elsewhere)
        odds = finding.slope * logits[:, k] + finding.intercept
        adjusted.append(calibration_error(expit(odds + np.log(times)), truth[:, k], weights))
        unadjusted.append(calibration_error(expit(odds), truth[:, k], weights))
    return {"odds_times": times, "adjusted": float(np.mean(adjusted)), "unadjusted": float(np.mean(unadjusted))}
