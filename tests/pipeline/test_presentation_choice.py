"""A film is shown by the first presentation under which it uses the range; what is passed over is named, and why.

The expected pixels come from formulas: whole bits, numpy's percentiles, a window by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, config
from pydicom.sequence import Sequence

from app.pipeline import decode, tones
from app.pipeline.errors import UnsuitableImage
from app.pipeline.exposed_field import LEFT_OUT
from tests.support.films import part10

from .films import around, film, smooth
from .test_decode_dicom_presentation import SQUARES, lut

FILM = smooth(12)
WHOLE = FILM / np.float32(4095)
NUMBERS = re.compile(r": center [^,]+, width [0-9.e+-]+| \(SHA-256 [0-9a-f]{16}\)|; MONOCHROME1, inverted")
SIXTEEN = {"BitsStored": 16, "HighBit": 15}
WINDOW = "WindowCenter (0028,1050) and WindowWidth (0028,1051)"
VOI_LUT = "VOILUTSequence (0028,3010)"


def shown(dataset: Dataset) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Pixels, and the notes of how they are shown, without the numbers that test_agreement.py is about."""
    image = decode(part10(dataset))
    return image.pixels, tuple(NUMBERS.sub("", note) for note in image.notes if not note.startswith(LEFT_OUT))


def window(center: float, width: float, **more: object) -> dict[str, object]:
    return {"WindowCenter": center, "WindowWidth": width, **more}


#: Films of 12 bits under what does not belong to them: the tags, what is passed over, and a word of why.
MISFITS: dict[str, tuple[dict[str, object], str, str]] = {
    "window of a CT": (window(40, 400), WINDOW, "as white"),
    "window of a CT's lungs": (window(-600, 1500), WINDOW, "as white"),
    "window of 8 bits": (window(128, 256), WINDOW, "as white"),
    "window of 16 bits": (window(32_768, 65_536), WINDOW, "nothing brighter than 6% of white"),
    "window of 14 bits": (window(8192, 16_384), WINDOW, "nothing brighter than 2"),
    "16 bits stored, and their window": (window(32_768, 65_536, **SIXTEEN), WINDOW, "nothing brighter than 6% of white"),
    "window above every pixel": (window(60_000, 2), WINDOW, "100% of the film as black"),
    "window below every pixel": (window(-60_000, 2), WINDOW, "100% of the film as white"),
    "narrow window": (window(2048, 2), WINDOW, "of the film as white"),
    "sigmoid of a CT": (window(40, 400, VOILUTFunction="SIGMOID"), WINDOW, "as white"),
    "rescaled out of its window": (window(2048, 4096, RescaleSlope=0.001, RescaleIntercept=0), WINDOW, "none after"),
    "LUT of other values": ({"VOILUTSequence": Sequence([lut(SQUARES, first=10_000)])}, VOI_LUT, "as black"),
    "LUT of two greys": (
        {"VOILUTSequence": Sequence([lut(np.repeat([0, 4095], 2048).astype(np.uint16))])}, VOI_LUT, "as white",
    ),
}  # fmt: skip


@pytest.mark.parametrize("monochrome1", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_belong_to_the_pixels_is_passed_over(name: str, monochrome1: bool) -> None:
    tags, passed_over, why = MISFITS[name]
    stored = 4095 - FILM if monochrome1 else FILM
    photometric = {"PhotometricInterpretation": "MONOCHROME1"} if monochrome1 else {}
    pixels, notes = shown(film(stored, **tags, **photometric))
    assert notes[0].startswith(f"{passed_over} passed over: ")
    if not monochrome1:
        assert why in notes[0]
    if name == "rescaled out of its window":
        np.testing.assert_allclose(pixels, WHOLE, atol=1e-6)
        assert notes[1] == "window applied (LINEAR), to values before RescaleSlope"
    else:
        np.testing.assert_allclose(pixels, WHOLE, atol=1e-6)
        assert notes[-1] == "instead: the whole of the 12 bits in use"


def test_the_order_is_luts_then_windows() -> None:
    wrong, right = lut(SQUARES, first=10_000), lut(SQUARES)
    pixels, notes = shown(film(FILM, VOILUTSequence=Sequence([wrong, right]), **window(2048, 4096)))
    np.testing.assert_array_equal(pixels, np.float32(SQUARES[FILM]) / np.float32(4095))
    assert notes[1] == "VOI LUT applied, number 2 of 2"
    pixels, notes = shown(film(FILM, VOILUTSequence=Sequence([wrong]), **window([40, 2048], [400, 4096])))
    np.testing.assert_allclose(pixels, WHOLE, atol=1e-6)
    assert [note.split(" passed over")[0] for note in notes] == [
        VOI_LUT,
        WINDOW,
        "window applied (LINEAR), number 2 of 2",
    ]


def test_a_lut_that_states_more_bits_than_its_entries_use_keeps_its_curve() -> None:
    pixels, notes = shown(film(FILM, VOILUTSequence=Sequence([lut(SQUARES, bits=16)])))
    np.testing.assert_array_equal(pixels, np.float32(SQUARES[FILM]) / np.float32(4095))
    assert notes[0] == f"{VOI_LUT} passed over: it shows nothing brighter than 6% of white"
    assert notes[1] == "VOI LUT applied, over the 12 bits that its entries use"


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_sixteen_bits_stored_of_which_fewer_are_used(bits: int) -> None:
    stored = smooth(bits)
    pixels, notes = shown(film(stored, **SIXTEEN))
    np.testing.assert_array_equal(pixels, stored.astype(np.float32) / np.float32(2**bits - 1))
    assert notes == (f"no window: the whole of the {bits} bits in use, where BitsStored (0028,0101) is 16",)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_percentiles_where_the_whole_of_the_bits_would_be_dull(photometric: str) -> None:
    """Whichever end is white, it is the one that keeps some of the range for the whitest pixels."""
    stored = 1000 + FILM // 3
    pixels, notes = shown(film(stored, **window(40, 400), PhotometricInterpretation=photometric))
    low, high = np.percentile(stored, [0.5, 99.5])
    expected = np.clip((stored - low) / (high - low), 0, 1)
    np.testing.assert_allclose(pixels, 0.92 * (1 - expected if photometric == "MONOCHROME1" else expected), atol=1e-6)
    assert notes[1] == "instead: percentiles 0.5 to 99.5 of the pixels, up to 92% of white"


def test_percentiles_of_the_film_alone_where_a_border_would_take_the_range() -> None:
    stored = FILM // 4
    stored[:40] = 4095
    pixels, notes = shown(film(stored))
    low, high = np.percentile(stored[40:], [0.5, 99.5])
    np.testing.assert_allclose(pixels, 0.92 * np.clip((stored - low) / (high - low), 0, 1), atol=1e-6)
    assert notes == (
        "no window: percentiles 0.5 to 99.5 of the pixels, up to 92% of white, those of a border left out",
    )


def test_eight_bits_in_a_part_of_their_range_are_spread() -> None:
    stored = (smooth(8) // 4).astype(np.uint8)
    pixels, notes = shown(film(stored))
    low, high = np.percentile(stored, [0.5, 99.5])
    np.testing.assert_allclose(pixels, 0.92 * np.clip((stored - low) / (high - low), 0, 1), atol=1e-6)
    assert notes[0] == "full range of 8 bits passed over: it shows nothing brighter than 24% of white"


@pytest.mark.parametrize("tags", [{}, window(128, 256)], ids=["no window", "window"])
def test_a_few_greys_in_a_corner_of_eight_bits_are_refused_by_tag(tags: dict[str, object]) -> None:
    tag = "WindowCenter" if tags else "BitsStored"
    with pytest.raises(UnsuitableImage, match=rf"16 greys.*{tag} \("):
        decode(part10(film((smooth(8) // 16).astype(np.uint8), **tags)))


# What is left alone


ORDINARY: dict[str, tuple[NDArray[np.integer], dict[str, object]]] = {
    "40 % black": (FILM, window(int(np.percentile(FILM, 70)), 2 * int(np.percentile(FILM, 70) - np.percentile(FILM, 40)))),
    "15 % white": (FILM, window(int(np.percentile(FILM, 85)) // 2, int(np.percentile(FILM, 85)))),
    "low contrast": (around(2048), window(2048, 4096)),
    "wider than the values": (FILM, window(2048, 5000)),
    "exact": (FILM, window(2000, 3000, VOILUTFunction="LINEAR_EXACT")),
}  # fmt: skip


@pytest.mark.parametrize("border", [None, 0, 4095])
@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_window_is_left_alone(name: str, border: int | None) -> None:
    """A border of one value takes a third of the film; it is none of the film's blacks and whites."""
    stored, tags = ORDINARY[name]
    stored = stored.copy()
    if border is not None:
        stored[:90] = border
    hides, notes = [], shown(film(stored, **tags))[1]
    if name in {"40 % black", "15 % white", "exact"}:
        *hides, _ = notes
    assert notes == (*hides, f"window applied ({tags.get('VOILUTFunction', 'LINEAR')})")
    assert all(" hides " in note for note in hides)


@pytest.mark.parametrize("name", [
    "cr_chest_15bit_monochrome1", "cr_chest_15bit_j2k_lossy", "cr_chest_jpeg_baseline", "dx_chest_no_finding",
    "dx_chest_cardiomegaly", "dx_chest_effusion",
])  # fmt: skip
def test_real_films_are_left_alone(name: str, shared_data: Path) -> None:
    assert not [
        note for note in decode((shared_data / f"dicom/{name}.dcm").read_bytes()).notes if "passed over" in note
    ]


def test_the_films_of_the_collection_are_left_alone(shared_data: Path) -> None:
    """None is beyond what docs/dicom.md says of them, and that is within the bounds."""
    for path in sorted((shared_data / "chest_xrays/images").glob("*.png"))[::5]:
        with Image.open(path) as image:
            counts = np.array(image.convert("L").histogram(), np.int64)
        assert tones.why_unused(np.arange(256) / 255, counts, clipped=True) is None, path.name
        share = tones.film_counts(counts) / tones.film_counts(counts).sum()
        low, high = (np.searchsorted(np.cumsum(share), part) / 255 for part in (0.01, 0.99))
        assert share[255] <= 0.01 < tones.MAX_WHITE, path.name
        assert share[0] <= 0.07 < tones.MAX_BLACK, path.name
        assert high >= 0.57 > tones.MIN_BRIGHTEST, path.name
        assert low <= 0.37 < tones.MAX_DARKEST, path.name
        assert high - low >= 0.39 > tones.MIN_SPAN, path.name
        assert np.count_nonzero(share) >= 150 > tones.MIN_GREYS, path.name


# What cannot be used


UNUSABLE: dict[str, tuple[dict[str, object], str]] = {
    "width 0": (window(2048, 0), "WindowWidth (0028,1051) must be at least 1"),
    "negative width": (window(2048, -5), "WindowWidth (0028,1051) must be at least 1"),
    "width 0, exact": (window(2048, 0, VOILUTFunction="LINEAR_EXACT"), "WindowWidth (0028,1051) must be over 0"),
    "NaN": (window("nan", "4096"), "not finite"),
    "infinite": (window("2048", "inf"), "not finite"),
    "text": (window("auto", "4096"), "WindowCenter (0028,1050) passed over: it holds no number"),
    "no width": ({"WindowCenter": 2048}, "WindowCenter (0028,1050) passed over: WindowWidth (0028,1051) has none"),
    "no center": ({"WindowWidth": 2048}, "WindowWidth (0028,1051) passed over: WindowCenter (0028,1050) has none"),
    "empty LUT": ({"VOILUTSequence": Sequence([Dataset()])}, "VOILUTSequence (0028,3010) passed over: LUTDescriptor"),
}


@pytest.mark.filterwarnings("ignore:.*value.*:UserWarning")
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_value_that_cannot_be_used_is_passed_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
    tags, words = UNUSABLE[name]
    pixels, notes = shown(_with(tags))
    np.testing.assert_allclose(pixels, WHOLE, atol=1e-6)
    assert any(words in note for note in notes)
    assert notes[-1] == "instead: the whole of the 12 bits in use"


def _with(tags: dict[str, object]) -> Dataset:
    """The film with tags as they are, whatever pydicom would say of them."""
    dataset = film(FILM)
    for keyword, value in tags.items():
        if isinstance(value, str) and keyword != "VOILUTFunction":
            dataset.add_new(keyword, "LO", value)
        else:
            setattr(dataset, keyword, value)
    return dataset


BESIDE_A_WINDOW: dict[str, tuple[dict[str, object], str]] = {
    "unknown function": ({"VOILUTFunction": "CUBIC"}, "VOILUTFunction (0028,1056) passed over: it is not"),
    "slope 0": ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope (0028,1053) passed over: it is 0"),
    "slope of text": ({"RescaleSlope": "US"}, "RescaleSlope (0028,1053) passed over: it holds no number"),
    "slope without end": ({"RescaleSlope": "1e300"}, "RescaleSlope (0028,1053) passed over: it is no usable number"),
    "intercept without end": (
        {"RescaleIntercept": "-inf"},
        "RescaleIntercept (0028,1052) passed over: it is no usable",
    ),
    "padding of text": ({"PixelPaddingValue": "none"}, "PixelPaddingValue (0028,0120) passed over: it holds no number"),
    "padding of two values": (
        {"PixelPaddingValue": "0\\1"},
        "PixelPaddingValue (0028,0120) passed over: it is not one",
    ),
    "LUT sequence of text": (
        {"VOILUTSequence": "a table"},
        "VOILUTSequence (0028,3010) passed over: it is no sequence",
    ),
    "one width too few": (
        {"WindowCenter": [2048, 40]},
        "WindowCenter (0028,1050) passed over: WindowWidth (0028,1051) has",
    ),
}


@pytest.mark.filterwarnings("ignore:.*value.*:UserWarning")
@pytest.mark.parametrize("name", BESIDE_A_WINDOW)
def test_a_sound_window_is_applied_all_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
    tags, words = BESIDE_A_WINDOW[name]
    pixels, notes = shown(_with({**window(2048, 4096), **tags}))
    np.testing.assert_array_equal(pixels, WHOLE)
    assert any(words in note for note in notes), notes
    assert notes[-1].startswith("window applied (LINEAR)")


# A window in another unit than the values


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, 1024), (16, 0), (2, 0), (0.5, 0), (1 / 16, 0)])
def test_a_window_of_the_values_before_they_were_rescaled(slope: float, intercept: float) -> None:
    pixels, notes = shown(film(FILM, **window(2048, 4096, RescaleSlope=slope, RescaleIntercept=intercept)))
    np.testing.assert_allclose(pixels, WHOLE, atol=1e-6)
    assert notes[0].startswith(f"{WINDOW} passed over: it ")
    assert notes[1] == "window applied (LINEAR), to values before RescaleSlope"


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.684, 200), (16, 0), (-1, 4095)])
def test_a_window_of_rescaled_values_is_theirs(slope: float, intercept: float) -> None:
    ends = sorted((intercept, 4095 * slope + intercept))
    tags = window((ends[0] + ends[1] + 1) / 2, ends[1] - ends[0] + 1, RescaleSlope=slope, RescaleIntercept=intercept)
    pixels, notes = shown(film(FILM, **tags))
    expected = WHOLE if slope > 0 else 1 - WHOLE
    np.testing.assert_allclose(pixels, expected, atol=1e-6)
    assert notes == ("window applied (LINEAR)",)


# Polarity


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_photometric_interpretation_decides_against_a_shape_that_contradicts_it(photometric: str, shape: str) -> None:
    """As Orthanc shows such films; DCMTK goes by the shape. docs/dicom.md says why."""
    tags = window(2048, 4096, PhotometricInterpretation=photometric)
    plain, _ = shown(film(FILM, **tags))
    pixels, notes = shown(film(FILM, PresentationLUTShape=shape, **tags))
    np.testing.assert_array_equal(pixels, plain)
    assert notes[1] == (
        "PresentationLUTShape (2050,0020) passed over: it contradicts PhotometricInterpretation (0028,0004), which decides"
    )
