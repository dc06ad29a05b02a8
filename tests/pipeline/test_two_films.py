"""No file is judged as one film and shown as another: what holds two is refused, what differs in tones is noted.

The oracles are pydicom's own LUTs and windows, and DCMTK's renderings: this project's code has no part in what they show.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

from app.pipeline import decode
from app.pipeline.dicom.rules import HeaderRules
from app.pipeline.errors import InputError, MalformedImage, UnsuitableImage
from tests.support.films import part10

from . import dcmtk
from .films import film
from .two_films import NOTED, REFUSED, TWELVE, A, B, interleaved, lut, voi

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
#: A film that is shown otherwise than it is judged has more than the note that every film has.
PLAIN = re.compile(r"(window applied|no window|instead)(?!.* of [2-9]).*|left out.*")


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_two_films_is_refused(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(MalformedImage, match=words):
        decode(make(), kind="dicom")


@pytest.mark.parametrize("name", NOTED)
def test_what_is_shown_otherwise_is_noted(name: str) -> None:
    make, words = NOTED[name]
    notes = decode(make(), kind="dicom").notes
    assert any(re.search(words, note) for note in notes), notes


def test_there_are_sixty() -> None:
    assert len(REFUSED) + len(NOTED) >= 60


# What is no second film


def signed_words() -> NDArray[np.int16]:
    """12 bits in two's complement, the sign in all bits above, as most senders write them."""
    return (TWELVE.astype(np.int16) - 2048).astype(np.int16)


SAME: dict[str, Dataset] = {
    "sign in all bits above": film(signed_words(), WindowCenter=0, WindowWidth=4096),
    "a window and a LUT that show the same": film(TWELVE, **WINDOW, **voi(lut(np.arange(4096), 12))),
    "a window and a sigmoid LUT": film(
        TWELVE, **WINDOW, **voi(lut(np.rint(4095 / (1 + np.exp(-(np.arange(4096) - 2048) / 600))), 12))
    ),
    "a hard, a normal and a soft LUT": film(
        TWELVE, **voi(*(lut(np.rint(4095 * (np.arange(4096) / 4095) ** power), 12) for power in (1.6, 1.0, 0.7)))
    ),
    "a LUT whose entries were rounded": film(
        TWELVE, **voi(lut(np.clip(np.arange(4096) + np.random.default_rng(5).integers(-8, 9, 4096), 0, 4095), 12))
    ),
    "12 bits at the top of 16": film((TWELVE << 4).astype(np.uint16), HighBit=15, **WINDOW),
}


@pytest.mark.parametrize("name", SAME)
def test_what_shows_one_film_is_accepted_without_a_warning(name: str) -> None:
    notes = decode(part10(SAME[name])).notes
    assert not [note for note in notes if re.search("hid|two films|passed over|outside", note)], notes


def test_numbers_of_what_is_shown_are_named() -> None:
    plain = decode(part10(film(TWELVE, **WINDOW)))
    assert plain.presentation == "window applied (LINEAR): center 2048, width 4096"
    inverted = decode(part10(film(TWELVE, **WINDOW, PhotometricInterpretation="MONOCHROME1")))
    assert inverted.presentation == "window applied (LINEAR): center 2048, width 4096; MONOCHROME1, inverted"
    assert inverted.presentation in inverted.notes
    one, same, other = (
        decode(part10(film(TWELVE, **voi(lut(table, 12))))).presentation
        for table in (np.arange(4096), np.arange(4096), np.maximum(np.arange(4096), 1))
    )
    assert re.fullmatch(r"VOI LUT applied \(SHA-256 [0-9a-f]{16}\)", one)
    assert one == same != other


def test_a_window_that_hides_is_refused_where_a_site_says_so() -> None:
    hiding = part10(film(TWELVE, WindowCenter=1600, WindowWidth=3200))
    with pytest.raises(UnsuitableImage, match="CXR_REFUSE_HIDING_WINDOWS"):
        decode(hiding, rules=HeaderRules(refuse_hiding=True))
    decode(part10(film(TWELVE, **WINDOW)), rules=HeaderRules(refuse_hiding=True))


# Films with headers of a generator, against what others show


def hidden(by: NDArray[np.integer], shown: NDArray[np.integer]) -> float:
    """The share of pixels whose grey in `by` stands for many of `shown`; greys of a screen."""
    pixels = np.bincount(by.ravel(), minlength=256)
    mean, square = (np.bincount(by.ravel(), (shown**power).ravel(), 256) / np.maximum(pixels, 1) for power in (1, 2))
    return float(pixels[square - mean**2 > 8.0**2].sum() / by.size)


def is_another(judged: NDArray[np.integer], shown: NDArray[np.integer]) -> bool:
    """Whether a person sees another film than the one that is judged: neither can be told from the other."""
    ours, theirs = hidden(judged, shown), hidden(shown, judged)
    return ours + theirs > 0.9 and min(ours, theirs) > 0.35


def on_screen(shades: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.rint(shades * 255).astype(np.int64)


TABLES = {
    "same": np.arange(4096),
    "squares": np.arange(4096) ** 2 // 4095,
    "roots": np.rint(np.sqrt(np.arange(4096) * 4095.0)).astype(np.int64),
    "low nibble": (np.arange(4096) & 15) * 273,
    "low six bits": (np.arange(4096) & 63) * 65,
    "fold": np.abs(np.arange(4096) - 2048) * 2 - 1,
    "falls": 4095 - np.arange(4096),
    "dip": np.where(abs(np.arange(4096) - 1500) < 300, 0, np.arange(4096)),
}
FILMS = {
    "one": (A << 4 | A >> 4).astype(np.uint16),
    "two nibbles": TWELVE,
    "two of six bits": (A >> 2 << 6 | B >> 2).astype(np.uint16),
    "two in columns": interleaved(3),
}
CENTERS, WIDTHS = [1024, 2048, 3072, 1600, 40], [4096, 2048, 3000, 400]


def made(
    stored: str, tables: list[str], windows: list[tuple[int, int]], function: str, slope: float, inverted: bool
) -> Dataset:
    dataset = film(FILMS[stored])
    if tables:
        dataset.VOILUTSequence = voi(*(lut(TABLES[name].clip(0, 4095), 12) for name in tables))["VOILUTSequence"]
    if windows:
        dataset.WindowCenter, dataset.WindowWidth = (list(each) for each in zip(*windows, strict=True))
        dataset.VOILUTFunction = function
    if slope != 1 and not tables:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    return dataset


def test_of_500_files_none_is_judged_as_one_film_and_shown_as_another() -> None:
    draw = np.random.default_rng(22)
    refused = accepted = differing = 0
    for _ in range(500):
        dataset = made(
            str(draw.choice(list(FILMS))),
            list(map(str, draw.choice(list(TABLES), draw.choice([0, 0, 1, 2])))),
            [(int(draw.choice(CENTERS)), int(draw.choice(WIDTHS))) for _ in range(draw.choice([0, 1, 1, 2, 3]))],
            str(draw.choice(["LINEAR", "LINEAR_EXACT", "SIGMOID"])),
            float(draw.choice([1, 1, 2, 0.5])),
            bool(draw.integers(2)),
        )
        try:
            image = decode(part10(dataset))
        except InputError:
            refused += 1
            continue
        accepted += 1
        judged = on_screen(image.pixels)
        for shown in shown_by_pydicom(dataset):
            assert not is_another(judged, shown), (dataset, image.notes)
            if np.abs(judged - shown).mean() > 10:
                differing += 1
                assert [note for note in image.notes if not PLAIN.fullmatch(note)], (dataset, image.notes)
    assert refused > 100, refused
    assert accepted > 100, accepted
    assert differing > 20, differing


def shown_by_pydicom(dataset: Dataset) -> list[NDArray[np.int64]]:
    """Each window and each LUT of a film, as a viewer shows it that takes this one."""
    stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
    values = apply_modality_lut(stored, dataset)
    found = []
    for number in range(len(dataset.get("VOILUTSequence", ()))):
        found.append(apply_voi(stored, dataset, number) / 4095)
    centers = dataset.get("WindowCenter", ())
    for number in range(len(centers) if isinstance(centers, list | tuple) or hasattr(centers, "append") else 1):
        shown = apply_windowing(values, dataset, number).astype(float)
        low, high = 0.0, 4095.0 * float(dataset.get("RescaleSlope", 1))
        found.append(np.clip((shown - low) / (high - low), 0, 1))
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return [on_screen(1 - each if inverted else each) for each in found]


BEGAN: list[float] = []


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    stored=st.sampled_from(sorted(FILMS)),
    tables=st.lists(st.sampled_from(sorted(TABLES)), max_size=2),
    windows=st.lists(st.tuples(st.sampled_from(CENTERS), st.sampled_from(WIDTHS)), max_size=2),
    function=st.sampled_from(["LINEAR", "SIGMOID"]),
    inverted=st.booleans(),
)
def test_dcmtk_shows_no_other_film(
    stored: str, tables: list[str], windows: list[tuple[int, int]], function: str, inverted: bool, tmp_path: Path
) -> None:
    """Its rendering of each window and each LUT; for at most 30 s."""
    BEGAN.append(time.monotonic())
    if time.monotonic() - BEGAN[0] > 30:
        return
    data = part10(made(stored, tables, windows, function, 1, inverted))
    try:
        image = decode(data)
    except InputError:
        return
    judged = on_screen(image.pixels)
    views = [("+Wl", str(number + 1)) for number in range(len(tables))]
    views += [("+Wi", str(number + 1)) for number in range(len(windows))]
    for view in views or [("-W",)]:
        shown = dcmtk.rendered(data, *view, bits=8, folder=tmp_path)
        assert not is_another(judged, shown), (view, image.notes)
        if views and np.abs(judged - shown).mean() > 10:
            assert [note for note in image.notes if not PLAIN.fullmatch(note)], (view, image.notes)
