"""LUTs, windows, inversion and padding, against DCMTK's rendering, pydicom's functions, and the standard's formulas."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from app.pipeline import decode
from app.pipeline.dicom.windows import apply_window
from app.pipeline.errors import MalformedImage, UnsuitableImage
from tests.support.films import part10

from . import dcmtk
from .films import around, film, smooth, stored12

SQUARES = (4095 * (np.arange(4096) / 4095) ** 2).astype(np.uint16)


def pixels_of(dataset: Dataset) -> NDArray[np.float32]:
    return decode(part10(dataset)).pixels


def lut(table: NDArray[np.generic], first: int = 0, bits: int = 12, count: int | None = None) -> Dataset:
    """One item of a LUT sequence."""
    item = Dataset()
    entries = len(table) if count is None else count
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries % 65_536, first, bits])
    item.add_new("LUTData", "OW", table.tobytes())
    return item


# DCMTK renders whole levels and cuts the fraction off, so that it may be one level under


SHOWN: dict[str, tuple[dict[str, object], list[str]]] = {
    "LINEAR": ({"WindowCenter": 1000.5, "WindowWidth": 700}, ["+Wi", "1"]),
    "SIGMOID": ({"WindowCenter": 1000.5, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"}, ["+Wi", "1"]),
    "the first of two windows": ({"WindowCenter": [1000, 2000], "WindowWidth": [700, 400]}, ["+Wi", "1"]),
    "rescaled": ({"RescaleSlope": 2, "RescaleIntercept": -1000, "RescaleType": "US", "WindowCenter": 3000, "WindowWidth": 2000},
                 ["+Wi", "1"]),
    "modality LUT": ({"ModalityLUTSequence": Sequence([lut(SQUARES)]), "WindowCenter": 1000, "WindowWidth": 700}, ["+Wi", "1"]),
    "VOI LUT": ({"VOILUTSequence": Sequence([lut(SQUARES)])}, ["+Wl", "1"]),
    "VOI LUT of a part": ({"VOILUTSequence": Sequence([lut(SQUARES[2096:], first=500)])}, ["+Wl", "1"]),
}  # fmt: skip
#: About which value of the film the window lies.
MIDDLE = {"rescaled": 2000, "modality LUT": 2024, "VOI LUT": 3000}
INVERTED: dict[str, dict[str, object]] = {
    "MONOCHROME2": {},
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
    "MONOCHROME1, INVERSE": {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    "MONOCHROME2, IDENTITY": {"PresentationLUTShape": "IDENTITY"},
}


@pytest.mark.parametrize("inversion", INVERTED)
@pytest.mark.parametrize("name", SHOWN)
def test_as_dcmtk_shows_it(name: str, inversion: str, tmp_path: Path) -> None:
    tags, options = SHOWN[name]
    data = part10(film(around(MIDDLE.get(name, 1000)), **tags, **INVERTED[inversion]))
    shown = dcmtk.rendered(data, *options, bits=12, folder=tmp_path)
    assert np.abs(decode(data).pixels * 4095 - shown).max() <= 1.001


def test_a_window_one_wide_as_dcmtk_shows_it(tmp_path: Path) -> None:
    shown = dcmtk.rendered(part10(film(WindowCenter=1000.5, WindowWidth=1)), "+Wi", "1", bits=12, folder=tmp_path)
    levels, full_scale = apply_window(stored12().astype(np.float64), 1000.5, 1, "LINEAR")
    np.testing.assert_array_equal(levels / full_scale * 4095, shown)


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_windows_of_every_depth_as_dcmtk_shows_them(bits: int, signed: bool, tmp_path: Path) -> None:
    middle = 0 if signed else 2 ** (bits - 1)
    tags = {"BitsStored": bits, "HighBit": bits - 1, "WindowCenter": middle + 20, "WindowWidth": 2 ** (bits - 1)}
    data = part10(film(smooth(bits, signed), **tags))
    shown = dcmtk.rendered(data, "+Wi", "1", bits=16, folder=tmp_path)
    assert np.abs(decode(data).pixels * 65_535 - shown).max() <= 1.01


@pytest.mark.parametrize(
    ("name", "bits", "options"),
    [
        ("cr_chest_15bit_monochrome1", 16, ["+Wi", "1"]),
        ("dx_chest_no_finding", 8, []),
        ("dx_chest_effusion", 8, []),
        ("cr_chest_jpeg_baseline", 8, []),
    ],
)
def test_real_films_as_dcmtk_shows_them(
    name: str, bits: int, options: list[str], shared_data: Path, tmp_path: Path
) -> None:
    data = (shared_data / f"dicom/{name}.dcm").read_bytes()
    shown = dcmtk.rendered(data, *options, bits=bits, folder=tmp_path)
    difference = np.abs(decode(data).pixels * (2**bits - 1) - shown).max()
    assert difference <= (1.01 if options else 1e-4)


# Windows, against pydicom


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000.5, 700), (3000, 2.5)])
def test_window_equals_pydicoms(function: str, center: float, width: float) -> None:
    dataset = film(around(int(center)), WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    with np.errstate(over="ignore"):  # pydicom's own sigmoid
        oracle = apply_voi_lut(around(int(center)), dataset) / 4095
    if width < 100:  # no film is shown so; the window is applied all the same
        levels, full_scale = apply_window(around(int(center)).astype(np.float64), center, width, function)
        np.testing.assert_allclose(levels / full_scale, oracle, atol=1e-6)
    else:
        np.testing.assert_allclose(pixels_of(dataset), oracle, atol=1e-6)


def test_window_of_signed_values() -> None:
    values = around(1948, signed=True)
    dataset = film(values, WindowCenter=-100, WindowWidth=900)
    oracle = (apply_voi_lut(values, dataset) + 2048) / 4095
    np.testing.assert_allclose(pixels_of(dataset), oracle, atol=1e-6)


def test_window_follows_the_modality_lut() -> None:
    tags = {"RescaleSlope": 2.5, "RescaleIntercept": -1000, "RescaleType": "US"}
    dataset = film(around(1600), **tags, WindowCenter=3000, WindowWidth=2000)
    values = apply_modality_lut(around(1600), dataset)
    oracle = (apply_voi_lut(values, dataset) + 1000) / (4095 * 2.5)
    np.testing.assert_allclose(pixels_of(dataset), oracle, atol=1e-6)


def test_inversion_comes_last() -> None:
    tags = {"WindowCenter": 1000, "WindowWidth": 700}
    straight = pixels_of(film(around(1000), **tags))
    inverted = pixels_of(film(around(1000), PhotometricInterpretation="MONOCHROME1", **tags))
    np.testing.assert_allclose(inverted, 1 - straight, atol=1e-6)
    assert straight.mean() < 0.6 < 0.9 < straight.max()


def test_the_first_of_several_windows_is_noted() -> None:
    image = decode(part10(film(around(1000), WindowCenter=[1000, 2000], WindowWidth=[700, 4000])))
    assert "window applied (LINEAR): center 1000, width 700, the first of 2" in image.notes


@pytest.mark.parametrize("width", [1.0, 1.5, 4096.0])
def test_linear_window_is_monotone_and_spans_the_unit_range(width: float) -> None:
    levels, full_scale = apply_window(np.arange(-5000.0, 9000.0), 2048.0, width, "LINEAR")
    assert levels.min() == 0
    assert levels.max() == full_scale
    assert (np.diff(levels) >= 0).all()


# Tables


def test_a_voi_lut_takes_precedence_over_a_window() -> None:
    image = decode(
        part10(film(WindowCenter=1000, WindowWidth=700, VOILUTSequence=Sequence([lut(SQUARES), lut(SQUARES)])))
    )
    np.testing.assert_array_equal(image.pixels, np.float32(SQUARES[stored12()]) / np.float32(4095))
    assert any(re.fullmatch(r"VOI LUT applied \(SHA-256 \w{16}\), the first of 2", note) for note in image.notes)


@pytest.mark.parametrize("syntax", ["little endian", "implicit", "big endian"])
@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_of_signed_values(sequence: str, syntax: str, tmp_path: Path) -> None:
    """Its first value mapped is -2048; where VR is implicit, nothing but PixelRepresentation says that it is signed."""
    window = {"WindowCenter": 2048, "WindowWidth": 4096} if sequence == "ModalityLUTSequence" else {}
    dataset = film(stored12(signed=True), **{sequence: Sequence([lut(SQUARES, first=-2048)])}, **window)
    data = part10(dataset)
    if syntax != "little endian":
        option, uid = {"implicit": ("+ti", ImplicitVRLittleEndian), "big endian": ("+tb", ExplicitVRBigEndian)}[syntax]
        data = dcmtk.encoded(data, "dcmconv", option, folder=tmp_path)
        assert uid.encode() in data
    expected = np.float32(SQUARES[stored12(signed=True).astype(int) + 2048]) / np.float32(4095)
    np.testing.assert_array_equal(decode(data).pixels, expected)


def test_values_outside_a_table_get_its_ends() -> None:
    dataset = film(around(1000), VOILUTSequence=Sequence([lut(SQUARES[95::4], first=500)]))
    expected = SQUARES[95::4][np.clip(around(1000).astype(int) - 500, 0, 1000)] / np.float32(4095)
    np.testing.assert_array_equal(pixels_of(dataset), expected.astype(np.float32))


def test_a_table_of_65536_entries_is_stated_as_none() -> None:
    values = np.arange(65_536).reshape(256, 256).astype(np.uint16)
    table = values.ravel()[::-1].copy()
    dataset = film(values, BitsStored=16, HighBit=15, VOILUTSequence=Sequence([lut(table, bits=16)]))
    np.testing.assert_array_equal(pixels_of(dataset), np.float32(65_535 - values) / np.float32(65_535))


def test_a_table_of_single_bytes() -> None:
    table = (np.arange(256) ** 2 // 255).astype(np.uint8)
    values = smooth(8)
    np.testing.assert_array_equal(
        pixels_of(film(values, VOILUTSequence=Sequence([lut(table, bits=8)]))),
        np.float32(table[values]) / np.float32(255),
    )


BROKEN_TABLES: dict[str, tuple[Dataset, str]] = {
    "short": (lut(SQUARES[:100], count=4096), "LUTData (0028,3006) has fewer entries"),
    "forty bits": (lut(SQUARES, bits=40), "LUTDescriptor (0028,3002) is not"),
    "empty": (Dataset(), "LUTDescriptor (0028,3002) is not"),
}


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_a_voi_lut_that_the_standard_forbids_is_passed_over(name: str) -> None:
    item, words = BROKEN_TABLES[name]
    window = {"WindowCenter": 1000, "WindowWidth": 1500}
    image = decode(part10(film(around(1000), VOILUTSequence=Sequence([item]), **window)))
    np.testing.assert_array_equal(image.pixels, pixels_of(film(around(1000), **window)))
    assert image.notes[0].startswith(f"VOILUTSequence (0028,3010) passed over: {words}")


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_without_its_modality_lut_nobody_knows_what_a_value_is(name: str) -> None:
    item, words = BROKEN_TABLES[name]
    with pytest.raises(MalformedImage, match=re.escape(words)):
        decode(part10(film(ModalityLUTSequence=Sequence([item]))))


# No window


def test_twelve_bits_without_a_window_are_spread_over_their_percentiles() -> None:
    image = decode(part10(film(smooth(12))))
    low, high = np.percentile(smooth(12), [0.5, 99.5])
    np.testing.assert_allclose(image.pixels, 0.92 * np.clip((smooth(12) - low) / (high - low), 0, 1), atol=1e-6)
    assert "no window: percentiles 0.5 to 99.5 of the pixels, up to 92% of white" in image.notes


# Padding


def padded(signed: bool, value: int, **tags: object) -> tuple[Dataset, NDArray[np.bool_]]:
    """A film with a wide border of one value."""
    values = smooth(12, signed).copy()
    border = np.ones(values.shape, bool)
    border[60:-20, 30:-40] = False
    values[border] = value
    dataset = film(values, **tags)
    dataset.add_new("PixelPaddingValue", "SS" if signed else "US", value)
    return dataset, border | (values == value)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("signed", "value"), [(False, 0), (False, 4095), (True, -2048)])
def test_padding_is_background_and_no_part_of_the_percentiles(photometric: str, signed: bool, value: int) -> None:
    dataset, padding = padded(signed, value, PhotometricInterpretation=photometric)
    values = dataset.pixel_array.astype(np.float64)
    low, high = np.percentile(values[~padding], [0.5, 99.5])
    expected = np.clip((values - low) / (high - low), 0, 1)
    expected = np.where(padding, 0, 0.92 * (1 - expected if photometric == "MONOCHROME1" else expected))
    image = decode(part10(dataset))
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)
    assert "padding shown as background" in image.notes


def test_a_range_of_padding() -> None:
    dataset = film(smooth(12), WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1")
    dataset.add_new("PixelPaddingValue", "US", 4095)
    dataset.add_new("PixelPaddingRangeLimit", "US", 4000)
    expected = np.where(smooth(12) >= 4000, 0, (4095 - smooth(12).astype(int)) / 4095)
    np.testing.assert_array_equal(pixels_of(dataset), expected.astype(np.float32))


def test_padding_that_no_pixel_has_is_not_noted() -> None:
    dataset = film(np.minimum(smooth(12), 4094), WindowCenter=2048, WindowWidth=4096)
    dataset.add_new("PixelPaddingValue", "US", 4095)
    notes = decode(part10(dataset)).notes
    assert "window applied (LINEAR): center 2048, width 4096" in notes
    assert "padding shown as background" not in notes


def test_nothing_but_padding() -> None:
    dataset = film()
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new("PixelPaddingRangeLimit", "US", 4095)
    with pytest.raises(UnsuitableImage, match=r"PixelPaddingValue \(0028,0120\)"):
        decode(part10(dataset))
