"""Do all presentations that a film's header offers show one film?

A viewer may use another presentation than ``choice`` does: a window although there is a VOI LUT, the second window,
or none. Under each of them a person must see the film that is judged, in other tones at most. The counts of the
values say what one presentation shows and another hides: a grey of one that stands for many greys of the other hides
their differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .. import tones
from ..errors import MalformedImage, UnsuitableImage
from .tags import named

if TYPE_CHECKING:
    from .choice import FilmAsSent

FloatArray = NDArray[np.float64]
Kind = Literal["table", "window"]

_SCREEN: Final = 255  # the brightest grey of a screen
#: Greys of a screen: one grey hides others if these differ by so much, as a standard deviation.
HIDDEN_SPREAD: Final = 6.0
#: Share of its range by which a LUT may go back. Rounded or smoothed entries go back by less.
MAX_RETURN: Final = 0.01
#: Share of a film's pixels: if the judged presentation hides so many, a reader should know.
NOTED_HIDDEN: Final = 0.1
#: Share that the judged LUT may hide and the window show, or the reverse: viewers use either.
MAX_HIDDEN: Final = 0.25
#: If one presentation or the other hides more than this, the common part is too small, and they show two films ...
MAX_HIDDEN_BY_EITHER: Final = 0.8
#: ... if each shows at least this share that the other hides.
MIN_OWN: Final = 0.15
#: The same if no presentation that was sent is judged: one that was skipped shows only a part of the film, and much
#: as black or white.
MIN_OWN_BESIDE_WHOLE: Final = 0.3
#: LUTs and windows; each is computed for every value that can be stored.
MAX_VIEWS: Final = 32
#: Pixels of different greys that count as padding.
MAX_PADDED: Final = 0.1


@dataclass(frozen=True)
class View:
    """A picture that a viewer may show.

    Attributes
    ----------
    shades : ndarray, shape (V,), float64, in [0, 1]
        The shade of each value that can be stored.
    kind : {"table", "window"} or None
        VOI LUT or window; None if it was not sent.
    note : str
        Which presentation, with its numbers.
    used : bool
        Whether the film uses the range under it.
    """

    shades: FloatArray
    kind: Kind | None
    note: str
    used: bool = True

    @property
    def sent(self) -> bool:
        """Whether it stands in the header."""
        return self.kind is not None

    def __str__(self) -> str:
        if self.kind is None:
            return f"what is judged ({self.note})"
        return f"{named('VOILUTSequence' if self.kind == 'table' else 'WindowCenter')} ({self.note})"


def require_monotone(levels: FloatArray, full_scale: float, counts: NDArray[np.int64], keyword: str) -> bool:
    """Refuse a LUT that both rises and falls over the values that occur: it shows a film that no window can show.

    Parameters
    ----------
    levels : ndarray, shape (V,), float64
        Output of the LUT for values that rise.
    full_scale : float
    counts : ndarray, shape (V,), int64
    keyword : str
        The LUT's tag, for the message.

    Returns
    -------
    bool
        Whether it falls, and so inverts.

    Raises
    ------
    MalformedImage
    """
    of_pixels = levels[counts > 0]
    rises, falls = (float((np.maximum.accumulate(each) - each).max()) for each in (of_pixels, -of_pixels))
    if min(rises, falls) > MAX_RETURN * full_scale:
        raise MalformedImage(
            f"{named(keyword)} both rises and falls over the values of the pixels, so a viewer without it shows "
            "another film; correct the LUT, or leave it out"
        )
    return falls < rises


def hidden(by: FloatArray, shown: FloatArray, counts: NDArray[np.int64]) -> float:
    """The share of pixels that `by` hides, and `shown` shows.

    Parameters
    ----------
    by, shown : ndarray, shape (V,), float64, in [0, 1]
        The shade of each value.
    counts : ndarray, shape (V,), int64
        How many pixels have the value.
    """
    there = np.flatnonzero(counts)
    weights = counts[there].astype(np.float64)
    greys = np.rint(by[there] * _SCREEN).astype(np.intp)
    others = shown[there] * _SCREEN
    weighted = others * weights
    pixels, first, second = (np.bincount(greys, each, _SCREEN + 1) for each in (weights, weighted, weighted * others))
    held = np.maximum(pixels, 1.0)
    spread = second / held - (first / held) ** 2
    return float(pixels[spread > HIDDEN_SPREAD**2].sum() / weights.sum())


def percentile_shades(counts: NDArray[np.int64]) -> FloatArray:
    """The shades under percentiles of the pixels, by their stored values, whatever the header says."""
    until = np.cumsum(counts)
    low, high = np.searchsorted(until, np.array(tones.PERCENTILES) / 100.0 * until[-1])
    return np.clip((np.arange(counts.size) - float(low)) / max(1.0, float(high - low)), 0.0, 1.0)


def require_few(views: int) -> None:
    """Refuse more LUTs and windows than any film has.

    Raises
    ------
    MalformedImage
    """
    if views > MAX_VIEWS:
        raise MalformedImage(
            f"there are over {MAX_VIEWS} VOI LUTs and windows, more than any film has; send the first alone"
        )


def require_one_film(film: FilmAsSent, chosen: View, others: Sequence[View], *, refuse_hiding: bool) -> list[str]:
    """Refuse a file whose presentations show another film than the judged one.

    Parameters
    ----------
    film : FilmAsSent
    chosen : View
        The judged presentation.
    others : sequence of View
        The other presentations of the header.
    refuse_hiding : bool
        Whether a presentation that hides much of the film is refused, and not only noted.

    Returns
    -------
    list of str
        Notes for a reader.

    Raises
    ------
    MalformedImage
        Two films.
    UnsuitableImage
        Much is hidden, and this is refused.
    """
    counts = tones.film_counts(film.counts)
    notes = []
    for other in others[1:]:  # viewers that know only the first presentation use it even if it was skipped here
        _require_same(others[0], other, counts, MIN_OWN)
    for other in others:
        by_chosen = _require_same(chosen, other, counts, MIN_OWN if chosen.sent else MIN_OWN_BESIDE_WHOLE)
        if (
            chosen.sent
            and chosen.kind != other.kind
            and _direction(chosen.shades, counts) * _direction(other.shades, counts) < 0
        ):
            raise MalformedImage(
                f"{chosen} and {other} contradict each other: pixels that are bright under one are dark under "
                "the other; send one of them"
            )
        if chosen.sent and chosen.kind != other.kind and other.used and by_chosen > MAX_HIDDEN:
            raise MalformedImage(
                f"{chosen} hides {by_chosen:.0%} of the pixels, which {other} shows, and viewers may use "
                "either; send one of them, or two that show the same"
            )
        if other.used and by_chosen > NOTED_HIDDEN:
            notes.append(f"{other} shows {by_chosen:.0%} of the film that the judged presentation hides")
    lost = hidden(chosen.shades, percentile_shades(counts), counts)
    if lost > NOTED_HIDDEN:
        what = f"{chosen} hides {lost:.0%} of the film, which percentiles of its pixels show"
        if refuse_hiding:
            raise UnsuitableImage(f"{what}; this is refused here (CXR_REFUSE_HIDING_WINDOWS). Send a wider window")
        notes.append(what)
    return notes


def _require_same(one: View, other: View, counts: NDArray[np.int64], own: float) -> float:
    """Refuse two films; otherwise return the share of pixels that `one` hides and `other` shows."""
    by_one, by_other = hidden(one.shades, other.shades, counts), hidden(other.shades, one.shades, counts)
    if by_one + by_other > MAX_HIDDEN_BY_EITHER and min(by_one, by_other) > own:
        raise MalformedImage(
            f"{one} and {other} show two films: {by_one:.0%} of the pixels are visible only in the second, and "
            f"{by_other:.0%} only in the first; send one presentation, or several that show the same"
        )
    return by_one


def require_plain_padding(padded: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Refuse a range of padding that blackens a part that viewers without padding show as film.

    Parameters
    ----------
    padded, counts : ndarray, shape (V,), int64
        How many pixels have each value: of the padding, and of all.

    Raises
    ------
    MalformedImage
    """
    share = padded.sum() / counts.sum()
    if share <= MAX_PADDED or np.count_nonzero(padded) < 2:
        return
    if hidden(np.zeros(counts.size), percentile_shades(counts), padded):
        raise MalformedImage(
            f"{named('PixelPaddingValue')} and {named('PixelPaddingRangeLimit')} make {share:.0%} of the pixels "
            "padding, but these differ like pixels of a film; correct the tags, or leave them out"
        )


def _direction(shades: FloatArray, counts: NDArray[np.int64]) -> int:
    """1 if higher values are brighter over the values that occur, -1 if they are darker, and 0 if neither."""
    there = np.flatnonzero(counts)
    return int(np.sign(shades[there[-1]] - shades[there[0]]))
