"""Which presentation shows a film: the first, in a fixed order, under which the film uses the range.

VOI LUTs as they stand, windows as they stand, then the whole of the bits that the pixels use, then percentiles of the
pixels. A note names each presentation that is passed over, and why. PS3.3 C.11.2 lets a viewer offer all of them; a
gate needs one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .. import tones
from ..errors import MalformedImage
from .agreement import Kind, View, require_few, require_monotone, require_one_film
from .layout import PixelLayout
from .luts import Table, read_table
from .modality import Modality
from .optional import UNREADABLE, optional_items, optional_numbers, passed_over
from .part10 import Part10
from .tags import named, text
from .windows import FUNCTIONS, apply_window, window_fault

FloatArray = NDArray[np.float64]
#: Share of its width by which a window may reach beyond the possible values; windows of real films reach 4 % beyond them.
WINDOW_TOLERANCE: Final = 1 / 8
_WINDOW = f"{named('WindowCenter')} and {named('WindowWidth')}"
_REMEDY = f"send {_WINDOW}"


@dataclass(frozen=True)
class Reading:
    """One way to show a film.

    Attributes
    ----------
    levels : ndarray, shape (V,), float64, in [0, full_scale]
        The level of each value that can be stored, before inversion.
    full_scale : float
    note : str
        The applied presentation.
    tag : str
        The tag at fault if the film does not use the range under it; empty if no tag gave it.
    kind : {"table", "window"} or None
        VOI LUT, window, or None if it was not sent.
    alone : bool
        Whether nothing else was sent.
    """

    levels: FloatArray
    full_scale: float
    note: str
    tag: str = ""
    kind: Kind | None = None
    alone: bool = False


@dataclass
class FilmAsSent:
    """The input of the choice: the values that can be stored, and how many pixels have each."""

    stored: NDArray[np.int64]
    modality: Modality
    counts: NDArray[np.int64]
    inverted: bool
    part10: Part10
    layout: PixelLayout
    notes: list[str] = field(default_factory=list)
    faulty: bool = False  # something that the sender gave was passed over

    def pass_over(self, what: str, why: str) -> None:
        """Note that something the sender gave is not used."""
        self.notes.append(f"{what} passed over: {why}")
        self.faulty = True

    def fault(self, reading: Reading) -> str | None:
        """Why the film does not use the range under a reading; None if it does."""
        return tones.why_unused(self.shades(reading), self.counts, clipped=bool(reading.tag))

    def shades(self, reading: Reading) -> FloatArray:
        """The shades of a reading, inverted if needed. The one division comes last, so that a window as wide as the
        values gives the numbers of a PNG."""
        levels = reading.full_scale - reading.levels if self.inverted else reading.levels
        return levels / reading.full_scale


def choose(film: FilmAsSent, *, refuse_hiding: bool = False) -> Reading:
    """Choose a presentation; ``film.notes`` gets those that were passed over, and what the choice hides.

    Raises
    ------
    MalformedImage
        The presentations that were sent show two films.
    UnsuitableImage
        All pixels have one value, or the film has too few greys for any presentation; or much is hidden, and this is
        refused.
    """
    reading = _first_that_shows(film)
    others = [] if reading.alone else [view for view in _views(film) if view.note != reading.note]
    if reading.kind or others:
        judged = View(film.shades(reading), reading.kind, reading.note)
        film.notes += require_one_film(film, judged, others, refuse_hiding=refuse_hiding)
    return reading


def _views(film: FilmAsSent) -> list[View]:
    """The pictures that viewers may show of the presentations that were sent, used here or not."""
    beside = replace(film, notes=[])
    return [
        View(film.shades(each), each.kind, each.note, used=film.fault(each) is None)
        for each in _sent(beside, whatever_fits=True)
        if each.kind
    ]


def _first_that_shows(film: FilmAsSent) -> Reading:
    unused = False
    for reading in _sent(film):
        why = film.fault(reading)
        if why is None:
            return reading
        unused = True
        film.pass_over(reading.tag or reading.note.split(": ")[-1], f"it {why}")
    if unused:
        tones.require_greys(film.counts, _remedy(film))
    whole = _whole_of_used_bits(film)
    if whole is not None and tones.fills(film.shades(whole), film.counts):
        return whole
    return _by_percentiles(film)


def _sent(film: FilmAsSent, *, whatever_fits: bool = False) -> Iterator[Reading]:
    """The presentations of the sender, in their order; those that cannot be applied are noted.

    `whatever_fits` adds windows that do not fit the values: this reader does not use them, but viewers apply them.
    """
    values, dataset, notes = film.modality.values, film.part10.dataset, film.notes
    before = len(notes)
    luts = optional_items(dataset, "VOILUTSequence", notes)
    film.faulty = len(notes) > before
    require_few(len(luts))
    signed = film.layout.signed or film.modality.may_be_negative
    for number, item in enumerate(luts, 1):  # PS3.3 C.11.2.1.1
        try:
            table = read_table(item, signed, film.part10.little_endian)
        except (MalformedImage, *UNREADABLE) as error:
            why = str(error).split(";")[0] if isinstance(error, MalformedImage) else "it is damaged"
            film.pass_over(named("VOILUTSequence"), why)
            continue
        yield from _by_table(film, table, number, len(luts))
    windows = _windows(film)
    require_few(len(luts) + len(windows))
    function = _function(film) if windows else ""
    alone = len(windows) == 1 and not luts
    for number, (center, width) in enumerate(windows, 1):
        if fault := window_fault(center, width, function):
            film.pass_over(_WINDOW, fault)
            continue
        note = f"window applied ({function}): center {center:g}, width {width:g}" + _which(number, len(windows))
        low, high = center - width / 2.0, center + width / 2.0
        of_stored = film.modality.rises and not film.modality.is_identity and _lies_within(film.stored, low, high)
        misfit = of_stored and not _lies_within(values, low, high)
        if misfit:
            film.pass_over(_WINDOW, f"it fits the values before {named('RescaleSlope')}, and none after")
        if not misfit or whatever_fits:
            yield Reading(*apply_window(values, center, width, function), note, _WINDOW, "window", alone)
        if of_stored:
            levels, full_scale = apply_window(film.stored.astype(np.float64), center, width, function)
            tag = f"{_WINDOW} over values before {named('RescaleSlope')}"
            yield Reading(levels, full_scale, f"{note}, to values before RescaleSlope", tag, "window")
    eight_bits = film.layout.bits_stored == 8 and not film.layout.signed and film.modality.is_identity
    if eight_bits:
        yield Reading(values, 255.0, _instead(film) + "full range of 8 bits", alone=not (luts or windows))


def _windows(film: FilmAsSent) -> list[tuple[float, float]]:
    dataset, notes = film.part10.dataset, film.notes
    before = len(notes)
    centers, widths = (optional_numbers(dataset, keyword, notes) for keyword in ("WindowCenter", "WindowWidth"))
    film.faulty |= len(notes) > before
    if len(centers) != len(widths):
        more, fewer = ("WindowCenter", "WindowWidth") if len(centers) > len(widths) else ("WindowWidth", "WindowCenter")
        film.pass_over(named(more), f"{named(fewer)} has {'fewer values' if centers and widths else 'none'}")
    return list(zip(centers, widths, strict=False))


def _lies_within(values: NDArray[np.number], low: float, high: float) -> bool:
    """Whether a window reaches beyond the possible values by no more than a tolerance of its width."""
    beyond = WINDOW_TOLERANCE * (high - low)
    return bool(low >= float(values.min()) - beyond and high <= float(values.max()) + beyond)


def _function(film: FilmAsSent) -> str:
    function = text(film.part10.dataset, "VOILUTFunction") or "LINEAR"
    if function in FUNCTIONS:
        return function
    film.notes.append(passed_over("VOILUTFunction", "it is not LINEAR, LINEAR_EXACT or SIGMOID; LINEAR is taken"))
    return "LINEAR"


def _by_table(film: FilmAsSent, table: Table, number: int, count: int) -> Iterator[Reading]:
    """A table over the bits that it states, then over those that its entries use.

    Raises
    ------
    MalformedImage
        The table shows another film than the values.
    """
    levels = table.look_up(film.modality.values)
    inverts = require_monotone(levels, table.full_scale, film.counts, "VOILUTSequence")
    note = f"VOI LUT applied ({table.digest})" + _which(number, count) + (", which inverts" if inverts else "")
    yield Reading(levels, table.full_scale, note, named("VOILUTSequence"), "table")
    bits = tones.depth_of(int(table.entries.max()), table.bits)
    if bits < table.bits:
        used = f"{named('VOILUTSequence')} over the {bits} bits that its entries use"
        yield Reading(levels, 2.0**bits - 1.0, f"{note}, over the {bits} bits that its entries use", used, "table")


def _whole_of_used_bits(film: FilmAsSent) -> Reading | None:
    """Values of 12 bits in a container of 16 are shown as 12 bits. Only unsigned values that no table changed are considered."""
    if film.layout.signed or not film.modality.rises:
        return None
    stated = film.layout.bits_stored
    bits = tones.depth_of(int(film.stored[film.counts > 0].max()), stated)
    if film.faulty:
        note = f"instead: the whole of the {bits} bits in use"
    elif bits < stated:
        note = f"no window: the whole of the {bits} bits in use, where {named('BitsStored')} is {stated}"
    else:
        return None
    full_scale = 2.0**bits - 1.0
    return Reading(np.minimum(film.stored.astype(np.float64), full_scale), full_scale, note)


def _by_percentiles(film: FilmAsSent) -> Reading:
    """Percentiles of the pixels; or only of the film's pixels, if the single value of a border leaves it little range."""
    note = _instead(film) + tones.NAME_OF_PERCENTILES
    whole = _spread(film, film.counts, note)
    if film.fault(whole) is None:
        return whole
    alone = tones.film_counts(film.counts)
    return _spread(film, alone, note + (", those of a border left out" if (alone != film.counts).any() else ""))


def _spread(film: FilmAsSent, counts: NDArray[np.int64], note: str) -> Reading:
    levels, span = tones.spread(film.modality.values, counts, _remedy(film))
    full_scale = span / tones.TOP
    # The room for the whitest pixels lies at the other end before inversion.
    return Reading(levels + (full_scale - span if film.inverted else 0.0), full_scale, note)


def _instead(film: FilmAsSent) -> str:
    return "instead: " if film.faulty else "no window: "


def _remedy(film: FilmAsSent) -> str:
    tags = [keyword for keyword in ("VOILUTSequence", "WindowCenter", "WindowWidth") if keyword in film.part10.dataset]
    if tags:
        return f"correct {' and '.join(map(named, tags))}"
    return f"{_REMEDY}, and correct {named('BitsStored')} if it is wrong"


def _which(number: int, count: int) -> str:
    if count == 1:
        return ""
    return f", the first of {count}" if number == 1 else f", number {number} of {count}"
