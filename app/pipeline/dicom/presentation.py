"""Stored values -> [0,1]: modality LUT -> VOI LUT or window -> inversion -> background (PS3.4 section N.2)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import MalformedImage, UnsuitableImage
from .layout import PixelLayout
from .part10 import Part10
from .tags import integer, named, numbers, of_several, text

#: Percentiles of the pixels that stand in for a missing window in films of more than 8 bits.
MISSING_WINDOW_PERCENTILES: Final = (0.5, 99.5)

#: numpy counts and looks up by eight-byte numbers, of which a whole plate would be 320 MiB.
ROWS_AT_ONCE: Final = 64

FloatArray = NDArray[np.float64]


def present(
    stored: NDArray[np.integer], film: Part10, layout: PixelLayout
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Present a film.

    No stage looks at a pixel's neighbours, so each is computed once for every value that can be stored, at most 65,536,
    and each pixel then takes the shade of its value.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns), uint8, uint16 or int32
    film, layout
        Where they came from.

    Returns
    -------
    pixels : ndarray, shape (rows, columns), float32, in [0, 1]
        0 is black; padded pixels are 0.
    notes : tuple of str

    Raises
    ------
    MalformedImage
        A LUT or window that the standard forbids.
    UnsuitableImage
        Too little range for a window to be chosen, or nothing but padding.
    """
    lowest = layout.lowest
    possible = np.arange(lowest, lowest + (1 << layout.bits_stored))
    blocks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, layout.rows, ROWS_AT_ONCE)]
    counts = np.zeros(possible.size, np.int64)
    for rows in blocks:
        counts += np.bincount((stored[rows] - lowest).ravel(), minlength=possible.size)
    padding = _padding(possible, film.dataset, layout)
    padded = bool(counts[padding].any())
    counts[padding] = 0
    if not counts.any():
        raise UnsuitableImage(
            "every pixel is padding by PixelPaddingValue (0028,0120) and PixelPaddingRangeLimit (0028,0121); correct them"
        )
    values = _apply_modality(possible, film, layout)
    levels, full_scale, note = _apply_voi(values, counts, film, layout)
    if _is_inverted(film.dataset, layout):
        levels = full_scale - levels
    # The one division comes last, so that a window as wide as the values gives the very numbers of a PNG of them.
    shades = (levels / full_scale).astype(np.float32)
    shades[padding] = 0.0
    pixels = np.empty(stored.shape, np.float32)
    for rows in blocks:
        pixels[rows] = shades[stored[rows] - lowest]
    return pixels, (note, "padding shown as background") if padded else (note,)


def apply_window(values: FloatArray, center: float, width: float, function: str) -> tuple[FloatArray, float]:
    """Window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Parameters
    ----------
    values : ndarray, float64
        Output of the modality LUT.
    center, width : float
        WindowCenter (0028,1050) and WindowWidth (0028,1051), finite.
    function : str
        VOILUTFunction (0028,1056): LINEAR, LINEAR_EXACT or SIGMOID.

    Returns
    -------
    levels : ndarray, float64, in [0, full_scale]
    full_scale : float

    Raises
    ------
    MalformedImage
        A width that the standard forbids, or an unknown function.
    """
    if width < 1.0 if function == "LINEAR" else width <= 0.0:
        raise MalformedImage(
            f"WindowWidth (0028,1051) must be {'at least 1' if function == 'LINEAR' else 'over 0'}; correct it, or leave it out"
        )
    if function == "LINEAR":
        if width == 1.0:
            return np.where(values > center - 0.5, 1.0, 0.0), 1.0
        lowest = center - 0.5 - (width - 1.0) / 2.0
        return np.clip(values - lowest, 0.0, width - 1.0), width - 1.0
    if function == "LINEAR_EXACT":
        return np.clip(values - (center - width / 2.0), 0.0, width), width
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))), 1.0
    raise MalformedImage(
        "VOILUTFunction (0028,1056) is not LINEAR, LINEAR_EXACT or SIGMOID; correct it, or leave it out"
    )


def _apply_voi(
    values: FloatArray, counts: NDArray[np.int64], film: Part10, layout: PixelLayout
) -> tuple[FloatArray, float, str]:
    """Levels, their full scale, and a note of the rule. The first VOI LUT comes before the first window."""
    dataset = film.dataset
    if luts := dataset.get("VOILUTSequence"):  # PS3.3 C.11.2.1.1
        signed = layout.signed or min(_rescale(dataset)) < 0.0
        levels, full_scale = _look_up(values, luts[0], signed, film.little_endian)
        return levels, full_scale, "VOI LUT applied" + of_several(len(luts))
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if centers and widths:
        function = text(dataset, "VOILUTFunction") or "LINEAR"
        levels, full_scale = apply_window(values, centers[0], widths[0], function)
        return levels, full_scale, f"window applied ({function})" + of_several(len(centers))
    if layout.bits_stored == 8 and not layout.signed and not _changes_values(dataset):
        return values, 255.0, "no window: full range of 8 bits"
    low, high = (_percentile(values, counts, percent) for percent in MISSING_WINDOW_PERCENTILES)
    if high <= low:
        raise UnsuitableImage(
            "there is no window, and the pixels have too little range to choose one; send WindowCenter (0028,1050) and "
            "WindowWidth (0028,1051)"
        )
    note = "no window: percentiles {:g} to {:g} of the pixels".format(*MISSING_WINDOW_PERCENTILES)
    return np.clip(values - low, 0.0, high - low), high - low, note


def _percentile(values: FloatArray, counts: NDArray[np.int64], percent: float) -> float:
    """The percentile of `values`, of which each occurs `counts` times, interpolated as numpy's default does."""
    order = np.argsort(values, kind="stable")
    until = np.cumsum(counts[order])
    rank = percent / 100.0 * (until[-1] - 1)
    below, above = (values[order[np.searchsorted(until, whole, "right")]] for whole in (np.floor(rank), np.ceil(rank)))
    return float(below + (above - below) * (rank - np.floor(rank)))


def _apply_modality(stored: NDArray[np.int64], film: Part10, layout: PixelLayout) -> FloatArray:
    """Modality LUT (PS3.3 C.11.1): a table, or slope and intercept, or neither."""
    dataset = film.dataset
    if luts := dataset.get("ModalityLUTSequence"):
        return _look_up(stored.astype(np.float64), luts[0], layout.signed, film.little_endian)[0]
    slope, intercept = _rescale(dataset)
    return stored.astype(np.float64) * slope + intercept


def _rescale(dataset: Dataset) -> tuple[float, float]:
    return (numbers(dataset, "RescaleSlope") or [1.0])[0], (numbers(dataset, "RescaleIntercept") or [0.0])[0]


def _changes_values(dataset: Dataset) -> bool:
    return bool(dataset.get("ModalityLUTSequence")) or _rescale(dataset) != (1.0, 0.0)


def _look_up(values: FloatArray, item: Dataset, signed: bool, little_endian: bool) -> tuple[FloatArray, float]:
    """Look values up in a table (PS3.3 C.11.1.1 and C.11.2.1.1); those outside it get its first or last entry.

    Parameters
    ----------
    values : ndarray, float64
    item : Dataset
        LUTDescriptor (0028,3002): number of entries (0 is 65,536), first value mapped, bits an entry; LUTData (0028,3006).
    signed : bool
        Whether the first value mapped is two's complement; its VR (US or SS) may be missing or wrong.
    little_endian : bool
        How words of LUTData lie where it is bytes.

    Returns
    -------
    entries : ndarray of the shape of `values`, float64
    full_scale : float
        Of the bits that the descriptor states.

    Raises
    ------
    MalformedImage
    """
    descriptor = [int(value) for value in numbers(item, "LUTDescriptor")]
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise MalformedImage(
            f"{named('LUTDescriptor')} is not three numbers with 8 to 16 bits an entry; correct the LUT"
        )
    count, first = (descriptor[0] & 0xFFFF) or 65_536, descriptor[1] & 0xFFFF
    if signed and first >= 32_768:
        first -= 65_536
    table = _entries(item.get("LUTData"), count, little_endian)
    index = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    full_scale = 2.0 ** descriptor[2] - 1.0
    return np.minimum(table.astype(np.float64), full_scale)[index], full_scale


def _entries(data: object, count: int, little_endian: bool) -> NDArray[np.unsignedinteger]:
    """LUTData as it may come: words in bytes (OW), single bytes (8-bit entries packed), or numbers (US)."""
    table: NDArray[np.unsignedinteger] | None = None
    if isinstance(data, bytes):
        if len(data) in {count, count + 1}:
            table = np.frombuffer(data, np.uint8)
        elif len(data) >= 2 * count:
            table = np.frombuffer(data[: 2 * count], "<u2" if little_endian else ">u2")
    elif data is not None:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    if table is None or table.size < count:
        raise MalformedImage(
            f"{named('LUTData')} has fewer entries than {named('LUTDescriptor')} states; correct the LUT"
        )
    return table[:count]


def _is_inverted(dataset: Dataset, layout: PixelLayout) -> bool:
    """MONOCHROME1 shows low values bright (PS3.3 C.7.6.3.1.2); a Presentation LUT Shape, where present, decides."""
    shape = text(dataset, "PresentationLUTShape")
    if shape in {"IDENTITY", "INVERSE"}:  # PS3.3 C.11.6
        return shape == "INVERSE"
    return layout.monochrome1


def _padding(possible: NDArray[np.int64], dataset: Dataset, layout: PixelLayout) -> NDArray[np.bool_]:
    """Which of the values that can be stored are padding (PS3.3 C.7.5.1.1.2)."""
    if not numbers(dataset, "PixelPaddingValue"):
        return np.zeros(possible.shape, dtype=bool)
    value = integer(dataset, "PixelPaddingValue")
    limits = sorted(
        _as_stored(one, layout.signed) for one in (value, integer(dataset, "PixelPaddingRangeLimit", value))
    )
    return (possible >= limits[0]) & (possible <= limits[1])


def _as_stored(value: int, signed: bool) -> int:
    """A number of 16 bits as the pixels' own kind, whichever of US and SS it was sent as."""
    word = value & 0xFFFF
    return word - 65_536 if signed and word >= 32_768 else word
