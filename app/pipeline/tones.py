"""Do the greys of a film use their range? The counts of its values say so; if not, percentiles stand in.

A window of another modality, or 12 bits in a container of 16, gives a film that is nearly black or white. Such a film says
nothing of its pixels, and the gate would take it for tampered. The bounds below are measured: docs/dicom.md has the numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .errors import UnsuitableImage

#: Percentiles of the pixels that become black and white if nothing else says which values do.
PERCENTILES: Final = (0.5, 99.5)
#: The grey of the upper percentile. Exported films leave some of the range to their whitest pixels; with this at 1,
#: more films look tampered with.
TOP: Final = 0.92
NAME_OF_PERCENTILES: Final = "percentiles {:g} to {:g} of the pixels, up to {:.0%} of white".format(*PERCENTILES, TOP)
#: A value of so many of the pixels is a border, a shutter or a burned-in collimation: it is no part of the film.
FLAT_SHARE: Final = 1 / 16
#: A film shows at least so many greys of an 8-bit screen: with fewer the gate sees the steps.
MIN_GREYS: Final = 48
#: The 99th percentile of a film is brighter than this, the 1st darker, and from one to the other it spans at least so much.
MIN_BRIGHTEST: Final = 0.5
MAX_DARKEST: Final = 0.4
MIN_SPAN: Final = 0.3
#: No window of a film makes more of its pixels wholly black or wholly white.
MAX_BLACK: Final = 0.5
MAX_WHITE: Final = 0.3
#: The 1st and 99th percentile of 19 in 20 exported films lie below and above these.
FILLED: Final = (0.15, 0.75)
#: Depths that detectors have, for values in a larger container.
USUAL_DEPTHS: Final = (8, 10, 12, 14, 15)
_SCREEN: Final = 255

FloatArray = NDArray[np.float64]
Counts = NDArray[np.int64]


def film_counts(counts: Counts) -> Counts:
    """The counts without values that fill a ``FLAT_SHARE`` of the pixels each, if enough others remain to be a film."""
    others = np.where(counts >= FLAT_SHARE * counts.sum(), 0, counts)
    return others if np.count_nonzero(others) >= MIN_GREYS else counts


def why_unused(shades: FloatArray, counts: Counts, *, clipped: bool) -> str | None:
    """The obvious fault of the way in which a film is shown; None if it uses the range.

    Parameters
    ----------
    shades : ndarray, shape (V,), float64, in [0, 1]
        The shade of each value, 0 black.
    counts : ndarray, shape (V,), int64
        How many pixels have the value.
    clipped : bool
        Whether black and white pixels count: a window can be blamed for them, a film without one cannot.

    Returns
    -------
    str or None
        Words that follow on "it".
    """
    counts = film_counts(counts)
    share = _on_screen(shades, counts)
    if clipped and share[_SCREEN] > MAX_WHITE:
        return f"shows {share[_SCREEN]:.0%} of the film as white"
    if clipped and share[0] > MAX_BLACK:
        return f"shows {share[0]:.0%} of the film as black"
    low, high = _ends(share)
    if high < MIN_BRIGHTEST:
        return f"shows nothing brighter than {high:.0%} of white"
    if low > MAX_DARKEST:
        return f"shows nothing darker than {low:.0%} of white"
    if high - low < MIN_SPAN:
        return f"shows the film in {high - low:.0%} of the range"
    if clipped and np.count_nonzero(share) < MIN_GREYS <= np.count_nonzero(counts):
        return f"shows {np.count_nonzero(share)} greys only"
    return None


def fills(shades: FloatArray, counts: Counts) -> bool:
    """Whether a film fills the range as exported films do; only then is the whole of a bit depth shown."""
    low, high = _ends(_on_screen(shades, film_counts(counts)))
    return low <= FILLED[0] and high >= FILLED[1]


def _on_screen(shades: FloatArray, counts: Counts) -> FloatArray:
    """The share of pixels that each of the greys of an 8-bit screen has, shape (256,)."""
    greys = np.bincount(np.rint(shades * _SCREEN).astype(np.intp), weights=counts, minlength=_SCREEN + 1)
    return np.asarray(greys / greys.sum(), dtype=np.float64)


def _ends(share: FloatArray) -> tuple[float, float]:
    """The 1st and 99th percentile, in [0, 1]."""
    until = np.cumsum(share)
    return float(np.searchsorted(until, 0.01)) / _SCREEN, float(np.searchsorted(until, 0.99)) / _SCREEN


def percentile(values: FloatArray, counts: Counts, percent: float) -> float:
    """The percentile of `values`, of which each occurs `counts` times, interpolated as numpy's default does."""
    order = np.argsort(values, kind="stable")
    until = np.cumsum(counts[order])
    rank = percent / 100.0 * (until[-1] - 1)
    below, above = (values[order[np.searchsorted(until, whole, "right")]] for whole in (np.floor(rank), np.ceil(rank)))
    return float(below + (above - below) * (rank - np.floor(rank)))


def spread(values: FloatArray, counts: Counts, remedy: str) -> tuple[FloatArray, float]:
    """Levels from 0 at the lower of ``PERCENTILES`` to their full scale at the upper.

    Raises
    ------
    UnsuitableImage
        One value, or nearly so.
    """
    low, high = (percentile(values, counts, percent) for percent in PERCENTILES)
    if high <= low:
        raise UnsuitableImage(f"all pixels have one value, or too little range to be shown; {remedy}")
    return np.clip(values - low, 0.0, high - low), high - low


def require_greys(counts: Counts, remedy: str) -> None:
    """Refuse to spread a film of so few values that the steps between them would show.

    Raises
    ------
    UnsuitableImage
    """
    greys = int(np.count_nonzero(film_counts(counts)))
    if greys < MIN_GREYS:
        what = f"the film has {greys} greys, all in a small part of their range"
        raise UnsuitableImage(f"{what if greys > 1 else 'all pixels have one value'}; {remedy}")


def depth_of(highest: int, allocated: int) -> int:
    """The bits with which values up to `highest` were stored, in a container of `allocated` bits."""
    return next((depth for depth in USUAL_DEPTHS if highest < 1 << depth and depth < allocated), allocated)
