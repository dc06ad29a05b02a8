"""Stored values -> values of the modality (PS3.3 C.11.1): a table, or slope and intercept, or neither."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import MalformedImage
from .agreement import require_monotone
from .layout import PixelLayout
from .luts import read_table
from .optional import UNREADABLE, optional_items, optional_numbers, passed_over
from .part10 import Part10
from .tags import named

#: Beyond this, sums of doubles lose the step from one stored value to the next.
LARGEST_VALUE: Final = 1e12


@dataclass(frozen=True)
class Modality:
    """The modality LUT of a film.

    Attributes
    ----------
    values : ndarray, shape (V,), float64
        The modality's value of each value that can be stored.
    is_identity : bool
        Whether the values are the stored ones.
    rises : bool
        Whether a higher stored value is a higher value, in proportion.
    may_be_negative : bool
    """

    values: NDArray[np.float64]
    is_identity: bool
    rises: bool
    may_be_negative: bool


def apply_modality(
    stored: NDArray[np.int64], counts: NDArray[np.int64], film: Part10, layout: PixelLayout, notes: list[str]
) -> Modality:
    """Apply the modality LUT.

    Parameters
    ----------
    stored : ndarray, shape (V,), int64
        The values that can be stored.
    counts : ndarray, shape (V,), int64
        How many pixels have each.
    notes : list of str
        Gets a note of each tag that was passed over.

    Raises
    ------
    MalformedImage
        A table cannot be read, and nothing else says what the values mean; or it both rises and falls.
    """
    slope, intercept = _rescale(film, notes)
    if luts := optional_items(film.dataset, "ModalityLUTSequence", notes):
        try:
            table = read_table(luts[0], layout.signed, film.little_endian)
        except UNREADABLE:
            raise MalformedImage(f"{named('ModalityLUTSequence')} is damaged; correct it") from None
        values = table.look_up(stored.astype(np.float64))
        if require_monotone(values, table.full_scale, counts, "ModalityLUTSequence"):
            notes.append(f"{named('ModalityLUTSequence')} falls, which inverts the film")
        return Modality(values, False, False, min(slope, intercept) < 0.0)
    values = stored.astype(np.float64) * slope + intercept
    return Modality(values, (slope, intercept) == (1.0, 0.0), slope > 0.0, min(slope, intercept) < 0.0)


def _rescale(film: Part10, notes: list[str]) -> tuple[float, float]:
    slopes, intercepts = (optional_numbers(film.dataset, name, notes) for name in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
    if not (math.isfinite(intercept) and abs(intercept) <= LARGEST_VALUE):
        notes.append(passed_over("RescaleIntercept", "it is no usable number; 0 is taken"))
        intercept = 0.0
    if slope == 0.0:
        notes.append(passed_over("RescaleSlope", "it is 0, which gives all pixels one value; 1 is taken"))
        return 1.0, intercept
    if not (math.isfinite(slope) and abs(slope) * 65_536.0 <= LARGEST_VALUE):
        notes.append(passed_over("RescaleSlope", "it is no usable number; 1 is taken"))
        return 1.0, intercept
    return slope, intercept
