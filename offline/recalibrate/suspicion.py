"""Check whether a site's films look attacked. Each check has a limit; docs/recalibration.md says what the checks detect.

Another scanner shifts all films alike, so most checks compare each film with the other films of its scanner: a minority that
stands apart is suspicious. The checks do not detect attacked films that are the majority, or whose maker knows the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from app.pipeline.bundle import Bundle

from ..attacks.posting import LEVELS

Array = NDArray[np.float64]

#: Share of films that may lie under the base's floor; turned films lie above it. None of five harmless scanners puts one of 399
#: films there (docs/recalibration.md). The network does not know the films of a site over this share either.
MOST_FOREIGN: Final = 0.05
#: Robust z-scores beyond which a film stands apart; none of 399 films did in five harmless scanners (the paper's gate). With a
#: watch, log densities of clean films have a heavier tail: a film that lies hardly further out than the base's calibration
#: films is no evidence.
LEAST_APART_DENSITY: Final = 8.0
BEYOND_CALIBRATION: Final = 1.25
#: Upper bound for every base: a base may itself come from a site, whose odd films must not widen the limit for the next site.
MOST_APART_DENSITY: Final = 20.0
APART_RESIDUAL: Final = 5.0
#: Share of films that may stand apart: sites have odd films. A site with two scanners, without a table of them, had 0.5 %.
MOST_APART: Final = 0.01
LEAST_COHORT: Final = 10  # films of one scanner that are compared among themselves
NAMED: Final = 5  # films named in a refusal


@dataclass(frozen=True)
class Looks:
    """Measurements of N films.

    Attributes
    ----------
    features : ndarray, shape (N, 1024), float32
    residuals : ndarray, shape (N,)
        ``residual_energy``, grey levels.
    scanners : ndarray of str, shape (N,)
        The scanner of each film; all alike if no table names it.
    """

    features: NDArray[np.float32]
    residuals: Array
    scanners: NDArray[np.str_]


@dataclass(frozen=True)
class Evidence:
    """One check: the share of films that fail it, how many may, and the finding in words."""

    name: str
    share: float
    limit: float
    suspicious: bool
    words: str


def residual_energy(images: Tensor) -> Array:
    """Trimmed mean of each pixel's absolute difference from the mean of its 3x3 neighbours, in grey levels of 255.

    Noise and attacks raise it; anatomy hardly does, since the quarter of pixels that differ most, edges, is left out.
    (A median leaves out edges too, but on 8-bit films it takes a few values only.)

    Parameters
    ----------
    images : Tensor, shape (N, 1, H, W), in [0, 1]

    Returns
    -------
    ndarray, shape (N,)
    """
    levels = (images * LEVELS).double()
    smooth = F.avg_pool2d(F.pad(levels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    differences = (levels - smooth).abs().flatten(1).sort(1).values
    energies: Array = differences[:, : 3 * differences.shape[1] // 4].mean(1).cpu().numpy()
    return energies


def robust_z(values: Array, scanners: NDArray[np.str_]) -> Array:
    """Distance from the median of the same scanner's films, in units of 1.4826 of their median absolute deviations.

    Unlike mean and deviation, neither is moved by a minority, however far out it lies. Scanners with few films are
    taken together.

    Parameters
    ----------
    values, scanners : ndarray, shape (N,)

    Returns
    -------
    ndarray, shape (N,)
    """
    names, scanner, counts = np.unique(scanners, return_inverse=True, return_counts=True)
    cohort = np.where(counts[scanner] >= LEAST_COHORT, scanner, len(names))
    distances = np.empty(len(values))
    for one in np.unique(cohort):
        distances[cohort == one] = _robust_z(values[cohort == one])
    return distances


def _robust_z(values: Array) -> Array:
    centred = values - np.median(values)
    scale = 1.4826 * float(np.median(np.abs(centred)))
    if scale == 0:  # over half of the films have the same value
        return np.where(centred == 0, 0.0, np.copysign(np.inf, centred))
    return centred / scale


def apart_density(calibration_scores: Array) -> float:
    """Robust deviations below the median beyond which a log density stands apart, for a base with these calibration scores."""
    furthest = -robust_z(calibration_scores, np.full(len(calibration_scores), "")).min(initial=0.0)
    return float(np.clip(BEYOND_CALIBRATION * furthest, LEAST_APART_DENSITY, MOST_APART_DENSITY))


def weigh(looks: Looks, names: list[str], bundle: Bundle) -> list[Evidence]:
    """Run all checks on a site's films.

    Parameters
    ----------
    names : list of str
        The films' names, to report films that stand apart: a person must look at them.
    """
    densities = bundle.gate.log_density(looks.features)
    floor = bundle.orientation.least_log_density
    apart = apart_density(bundle.golden.calibration_scores)
    return [
        _counted("far from the base", densities < floor, MOST_FOREIGN, names, f"under {floor:.0f} nats"),
        _counted(
            "apart in log density",
            robust_z(densities, looks.scanners) < -apart,
            MOST_APART,
            names,
            f"over {apart:.1f} deviations below its scanner's median log density",
        ),
        _counted(
            "apart in fine grain",
            robust_z(looks.residuals, looks.scanners) > APART_RESIDUAL,
            MOST_APART,
            names,
            f"with a residual energy over {APART_RESIDUAL:g} deviations above its scanner's median",
        ),
    ]


def _counted(name: str, failing: NDArray[np.bool_], limit: float, names: list[str], what: str) -> Evidence:
    share = float(failing.mean())
    # Without a refusal the words go into a bundle, which must not hold file names.
    shown = [names[place] for place in np.flatnonzero(failing)[:NAMED]] if share > limit else []
    words = f"{int(failing.sum())} of {len(failing)} films {what} (at most {limit:.0%} may be)"
    return Evidence(name, share, limit, share > limit, words + (f": {', '.join(shown)}" if shown else ""))
