"""Stored values -> [0,1]: modality LUT -> VOI LUT or window -> inversion -> background (PS3.4 section N.2).

``modality`` and ``choice`` do the first two; ``luts`` and ``windows`` serve them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from ..errors import UnsuitableImage
from .agreement import require_plain_padding
from .choice import FilmAsSent, choose
from .layout import PixelLayout
from .modality import apply_modality
from .optional import optional_numbers, passed_over
from .part10 import Part10
from .tags import named, text

#: numpy counts and looks up by eight-byte numbers, of which a whole plate would be 320 MiB.
ROWS_AT_ONCE: Final = 64
#: Tags that mean nothing for a film that was saved in colour.
GREYSCALE_ONLY: Final = (
    "ModalityLUTSequence RescaleSlope RescaleIntercept VOILUTSequence WindowCenter WindowWidth VOILUTFunction "
    "PixelPaddingValue PixelPaddingRangeLimit"
).split(" ")


def present(
    stored: NDArray[np.integer], film: Part10, layout: PixelLayout, *, refuse_hiding: bool = False
) -> tuple[NDArray[np.float32], tuple[str, ...], str]:
    """Present a film.

    No stage looks at a pixel's neighbours, so each is computed once for every value that can be stored, at most 65,536,
    and each pixel then takes the shade of its value.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns), uint8, uint16 or int32
    film, layout
        Their source.
    refuse_hiding : bool
        From ``HeaderRules``.

    Returns
    -------
    pixels : ndarray, shape (rows, columns), float32, in [0, 1]
        0 is black; padded pixels are 0.
    notes : tuple of str
        On the tags that were passed over, the applied presentation, polarity and padding.
    applied : str
        The note on the applied presentation, with its numbers.

    Raises
    ------
    MalformedImage
        A modality LUT that cannot be read, or more than one film: see ``agreement``.
    UnsuitableImage
        Too little range for a window to be chosen, or nothing but padding.
    """
    notes: list[str] = []
    if layout.colour:
        film = _without_greyscale(film, notes)
    lowest = layout.lowest
    possible = np.arange(lowest, lowest + (1 << layout.bits_stored))
    blocks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, layout.rows, ROWS_AT_ONCE)]
    counts = np.zeros(possible.size, np.int64)
    for rows in blocks:
        counts += np.bincount((stored[rows] - lowest).ravel(), minlength=possible.size)
    padding = _padding(possible, film.dataset, layout, notes)
    all_counts = counts.copy()
    counts[padding] = 0
    if not counts.any():
        raise UnsuitableImage(
            "every pixel is padding by PixelPaddingValue (0028,0120) and PixelPaddingRangeLimit (0028,0121); correct them"
        )
    padded = all_counts - counts
    require_plain_padding(padded, all_counts)
    modality = apply_modality(possible, counts, film, layout, notes)
    inverted = layout.monochrome1
    chosen = FilmAsSent(possible, modality, counts, inverted, film, layout, notes)
    reading = choose(chosen, refuse_hiding=refuse_hiding)
    shades = chosen.shades(reading).astype(np.float32)
    shades[padding] = 0.0
    pixels = np.empty(stored.shape, np.float32)
    for rows in blocks:
        pixels[rows] = shades[stored[rows] - lowest]
    applied = reading.note + ("; MONOCHROME1, inverted" if inverted else "")
    notes.append(applied)
    if note := _polarity_note(film.dataset, inverted):
        notes.append(note)
    if padded.any():
        notes.append("padding shown as background")
    return pixels, tuple(notes), applied


def _without_greyscale(film: Part10, notes: list[str]) -> Part10:
    """A film that was saved in colour is shown as it is: LUTs, windows and padding are for one sample (PS3.3 C.11.2)."""
    found = [keyword for keyword in GREYSCALE_ONLY if keyword in film.dataset]
    notes += [passed_over(keyword, "the film was saved in colour") for keyword in found]
    kept = Dataset({tag: element for tag, element in film.dataset.items() if keyword_for_tag(tag) not in found})
    return Part10(kept, film.syntax)


def _polarity_note(dataset: Dataset, inverted: bool) -> str | None:
    """PhotometricInterpretation decides (PS3.3 C.7.6.3.1.2): MONOCHROME1 shows low values bright.

    PresentationLUTShape follows from it (PS3.3 C.8.11.3: IDENTITY with MONOCHROME2, INVERSE with MONOCHROME1). Some
    senders write a wrong shape, and most viewers ignore it.
    """
    shape = text(dataset, "PresentationLUTShape")
    if shape in {"IDENTITY", "INVERSE"} and (shape == "INVERSE") != inverted:
        return passed_over(
            "PresentationLUTShape", f"it contradicts {named('PhotometricInterpretation')}, which decides"
        )
    return None


def _padding(possible: NDArray[np.int64], dataset: Dataset, layout: PixelLayout, notes: list[str]) -> NDArray[np.bool_]:
    """Which of the values that can be stored are padding (PS3.3 C.7.5.1.1.2)."""
    value = _word(dataset, "PixelPaddingValue", layout, notes)
    if value is None:
        return np.zeros(possible.shape, dtype=bool)
    limit = _word(dataset, "PixelPaddingRangeLimit", layout, notes)
    limits = sorted((value, value if limit is None else limit))
    return (possible >= limits[0]) & (possible <= limits[1])


def _word(dataset: Dataset, keyword: str, layout: PixelLayout, notes: list[str]) -> int | None:
    """A number of 16 bits, read as signed or unsigned like the pixels, whether it was sent as US or SS; None if there is none."""
    found = optional_numbers(dataset, keyword, notes)
    if not found:
        return None
    if len(found) != 1 or not found[0].is_integer():  # neither NaN nor infinity is one
        notes.append(passed_over(keyword, "it is not one whole number"))
        return None
    word = int(found[0]) & 0xFFFF
    return word - 65_536 if layout.signed and word >= 32_768 else word
