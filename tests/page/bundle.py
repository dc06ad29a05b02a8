"""A bundle that is quick to make, and says something of every kind: it accepts one film, whose findings it calls differently,
and rejects another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import expit

from app.pipeline import LABELS, Screener, decode, film_tensor, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.pipeline.heatmap import MAP_SHAPE
from tests.support.bundles import write_random_bundle

#: Of the film that is accepted, in the order of the labels: calibrated log odds, how far it lies over present_from in log odds
#: (the band is .8 wide; None: not called), and how many per cent of the films without the finding lie lower (None: unknown).
WISHED = (
    (-1.9, -0.35, 88.4),  # indeterminate
    (-5.1, -1.9, 21.0),  # absent
    (-0.7, 0.5, 97.6),  # present
    (-1.8, -1.2, 47.2),
    (-2.6, -0.85, 61.0),
    (-1.2, 1.3, 99.2),  # present
    (-4.6, -2.4, 12.9),
    (-3.4, -1.5, 33.3),
    (-3.9, -0.1, 93.1),  # indeterminate
    (-3.6, -4.5, 0.4),  # absent, far
    (-4.4, -1.1, 70.2),
    (-5.0, -1.6, 52.5),
    (-3.0, -2.0, 28.0),
    (-6.9, None, None),  # not called
)
#: A finding that came later is wished like the last.
EVERY_WISH = WISHED + WISHED[-1:] * (len(LABELS) - len(WISHED))
BAND = 0.8


def densities(bundle: Path, *films: bytes) -> list[float]:
    """Log densities that the gate of a bundle gives films."""
    return [density for density, _ in _judged(bundle, *films)]


def write_bundle_that_calls(folder: Path, plain: Path, accepted: bytes, rejected: bytes) -> Path:
    """Write the bundle, of the network of `plain`; gives its path.

    Raises
    ------
    ValueError
        The random network finds the film that is to be rejected the more typical one.
    """
    (high, logits), (low, _) = _judged(plain, accepted, rejected)
    if low >= high:
        raise ValueError("the film that is to be rejected is the more typical one: choose others")
    findings = {
        name: _finding(row, float(logit), *wished)
        for row, (name, logit, wished) in enumerate(zip(LABELS, logits, EVERY_WISH, strict=True))
    }
    # On typical films the middle speaks against everything, so on this one it stands out for every finding.
    typical = np.zeros((len(LABELS), *MAP_SHAPE), np.float32)
    typical[:, 2:5, 2:5] = -20
    return write_random_bundle(folder, (low + high) / 2, findings=findings, typical_maps=typical)


def _judged(bundle: Path, *films: bytes) -> list[tuple[float, np.ndarray]]:
    """Log density and logits of each."""
    read = read_bundle(bundle)
    screener = Screener(read, TorchCpu(read.network))
    outputs = [screener.outputs(film_tensor(decode(content))) for content in films]
    return [
        (float(read.gate.log_density(each.gate_features)[0]), np.asarray(each.logits[0], dtype=np.float64))
        for each in outputs
    ]


def _finding(row: int, logit: float, odds: float, over: float | None, percentile: float | None) -> dict[str, object]:
    points = (None, None) if over is None else (float(expit(odds - over)), float(expit(odds - over - BAND)))
    # The film's own logit lies at the percentile that is wished.
    without = [] if percentile is None else [logit + 0.05 * (share - percentile) for share in range(101)]
    return {
        "intercept": odds - logit,
        "prevalence": 0.02 + 0.01 * row,
        "present_from": points[0],
        "absent_below": points[1],
        "specificity": None if over is None else 0.953,
        "specificity_lower_bound": None if over is None else 0.931,
        "sensitivity": None if over is None else 0.41,
        "missed": None if over is None else 0.27,
        "held_out_positives": 3 if over is None else 40 + row,
        "held_out_negatives": 900 - row,
        "logits_without": without,
        "auroc": None if over is None else 0.83,
    }
