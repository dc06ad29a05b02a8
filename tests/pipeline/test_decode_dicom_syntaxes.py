"""Every transfer syntax gives exact pixels; DCMTK encodes the films, and is the judge of what is in them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from app.pipeline import decode
from app.pipeline.dicom.codecs import CODECS
from app.pipeline.dicom.part10 import NATIVE
from tests.support.films import compressed, part10

from . import dcmtk
from .films import computed12, film, smooth

#: What DCMTK can write: how, and whether it loses nothing.
WRITTEN: dict[str, tuple[UID, list[str], bool]] = {
    "implicit": (ImplicitVRLittleEndian, ["dcmconv", "+ti"], True),
    "explicit": (ExplicitVRLittleEndian, ["dcmconv", "+te"], True),
    "big endian": (ExplicitVRBigEndian, ["dcmconv", "+tb"], True),
    "deflated": (DeflatedExplicitVRLittleEndian, ["dcmconv", "+td"], True),
    "RLE": (RLELossless, ["dcmcrle"], True),
    "RLE in many fragments": (RLELossless, ["dcmcrle", "+fs", "4"], True),
    "JPEG Lossless SV1": (JPEGLosslessSV1, ["dcmcjpeg", "+e1"], True),
    **{f"JPEG Lossless, predictor {n}": (JPEGLossless, ["dcmcjpeg", "+el", "+sv", str(n)], True) for n in (2, 5, 6, 7)},
    "JPEG Lossless in many fragments": (JPEGLossless, ["dcmcjpeg", "+el", "+fs", "4"], True),
    "JPEG-LS": (JPEGLSLossless, ["dcmcjpls"], True),
    "JPEG-LS without offset table": (JPEGLSLossless, ["dcmcjpls", "-ot"], True),
    "JPEG-LS near-lossless": (JPEGLSNearLossless, ["dcmcjpls", "+en", "+md", "3"], False),
    "JPEG Baseline": (JPEGBaseline8Bit, ["dcmcjpeg", "+eb"], False),
    "JPEG Extended": (JPEGExtended12Bit, ["dcmcjpeg", "+ee"], False),
}
#: Of these, pydicom-data and tests/pipeline/data hold files.
FOUND = {JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}


def whole_range(bits: int, signed: bool = False) -> dict[str, object]:
    """Tags under which a stored value v is shown as (v - lowest) / (2^bits - 1)."""
    center = 0 if signed else 2 ** (bits - 1)
    return {"BitsStored": bits, "HighBit": bits - 1, "WindowCenter": center, "WindowWidth": 2**bits}


def test_every_syntax_that_is_read_is_tested_here() -> None:
    assert {syntax for syntax, _, _ in WRITTEN.values()} | FOUND == NATIVE | set(CODECS)


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize(
    ("name", "signed"),
    [(name, signed) for name in WRITTEN for signed in (False, True) if not signed or WRITTEN[name][2]],
    ids=lambda value: {False: "unsigned", True: "signed"}.get(value, value),
)
def test_the_pixels_are_dcmtks(name: str, bits: int, signed: bool, tmp_path: Path) -> None:
    syntax, (tool, *options), lossless = WRITTEN[name]
    plain = part10(film(smooth(bits, signed), **whole_range(bits, signed)))
    data = dcmtk.encoded(plain, tool, *options, folder=tmp_path)
    header = dcmread(io.BytesIO(data), stop_before_pixels=True)
    assert header.file_meta.TransferSyntaxUID == syntax
    raw, values = dcmtk.decoded(data, dcmtk.DECODERS[tool], tmp_path)
    shown = decode(data).pixels
    np.testing.assert_array_equal(shown, decode(raw).pixels)  # whatever window the encoder left
    if lossless:
        np.testing.assert_array_equal(values, smooth(bits, signed))
        lowest = -(2 ** (bits - 1)) if signed else 0
        np.testing.assert_array_equal(shown, np.float32(values - lowest) / np.float32(2**bits - 1))
        np.testing.assert_array_equal(shown, decode(plain).pixels)
    elif bits == 8:
        np.testing.assert_array_equal(shown, np.float32(values) / np.float32(255))


@pytest.mark.parametrize("name", [name for name, (_, _, lossless) in WRITTEN.items() if lossless])
@pytest.mark.parametrize("source", ["cr_chest_15bit_monochrome1", "dx_chest_effusion"])
def test_a_real_film_is_the_same_in_every_lossless_syntax(
    source: str, name: str, shared_data: Path, tmp_path: Path
) -> None:
    _, (tool, *options), _ = WRITTEN[name]
    plain = (shared_data / f"dicom/{source}.dcm").read_bytes()
    data = dcmtk.encoded(plain, tool, *options, folder=tmp_path)
    np.testing.assert_array_equal(decode(data).pixels, decode(plain).pixels)


def test_the_real_jpeg_baseline_film_is_dcmtks(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "dicom/cr_chest_jpeg_baseline.dcm").read_bytes()
    _, values = dcmtk.decoded(data, "dcmdjpeg", tmp_path)
    np.testing.assert_array_equal(decode(data).pixels, np.float32(values) / np.float32(255))


@pytest.mark.parametrize("monochrome1", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_film_is_the_same_as_dicom_and_as_png(bits: int, monochrome1: bool) -> None:
    """All 2^bits values, under a window that changes nothing."""
    values = np.arange(65_536).reshape(256, 256).astype(np.uint16 if bits == 16 else np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values.max() - values if monochrome1 else values).save(stream, "PNG")
    tags = whole_range(bits) | ({"PhotometricInterpretation": "MONOCHROME1"} if monochrome1 else {})
    np.testing.assert_array_equal(decode(part10(film(values, **tags))).pixels, decode(stream.getvalue()).pixels)


# JPEG 2000, which DCMTK has not


@pytest.mark.parametrize(
    ("name", "raw"),
    [("RG1_J2KR", "RG1_UNCR"), ("RG3_J2KR", "RG3_UNCR"), ("RG1_J2KI", "RG1_UNCI"), ("RG3_J2KI", "RG3_UNCI")],
)
def test_jpeg_2000_is_the_raw_film(name: str, raw: str) -> None:
    """CR films of David Clunie's collection: R lossless, I lossy, which another vendor's decoder (UNCI) read to the bit
    as ours does. The second film is told to be of a chest."""
    films = []
    for one in (name, raw):
        dataset = dcmread(get_testdata_file(f"{one}.dcm", download=False))
        dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientOrientation = "CHEST", "PA", ["L", "F"]
        films.append(decode(part10(dataset)).pixels)
    np.testing.assert_array_equal(*films)


def test_a_stream_that_is_unsigned_where_the_data_set_is_signed() -> None:
    """A real one (GE): the words are two's complement all the same."""
    source = dcmread(get_testdata_file("J2K_pixelrep_mismatch.dcm", download=False))
    expected = pixel_array(source).astype(np.int64)
    frame = get_frame(source.PixelData, 0, number_of_frames=1)
    tags = {"BitsStored": source.BitsStored, "HighBit": source.HighBit, "PixelRepresentation": 1}
    dataset = film(np.zeros(expected.shape, np.int16), **tags, WindowCenter=0, WindowWidth=2**11)
    shown = decode(part10(compressed(frame, source.file_meta.TransferSyntaxUID, dataset))).pixels
    np.testing.assert_array_equal(shown, (np.clip(expected + 1024, 0, 2047) / 2047).astype(np.float32))


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K], ids=lambda uid: uid.name)
def test_high_throughput_jpeg_2000(syntax: UID) -> None:
    """Streams of OpenJPH, see data/README.md."""
    name = "htj2k_lossy" if syntax == HTJ2K else "htj2k_lossless"
    frame = (Path(__file__).parent / f"data/{name}.j2k").read_bytes()
    shown = decode(part10(compressed(frame, syntax, film(computed12(), **whole_range(12))))).pixels
    levels = np.rint(shown * 4095).astype(int) - computed12()
    assert np.abs(levels).max() == 0 if syntax != HTJ2K else 0 < np.abs(levels).max() <= 10


# How pixels lie in their container


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", ["native", "big endian", "RLE", "JPEG Lossless SV1", "JPEG-LS"])
def test_the_high_bit_need_not_be_the_last_and_overlays_are_ignored(syntax: str, signed: bool, tmp_path: Path) -> None:
    """12 bits stored in bits 2 to 13; the four others are set at random, as overlays once were, and declared as such."""
    values = smooth(12, signed)
    around = np.random.default_rng(1).integers(0, 16, values.shape)
    words = (around & 3) | ((values.astype(np.int64) & 4095) << 2) | (around >> 2 << 14)
    dataset = film(words.astype(np.uint16), **whole_range(12, signed) | {"HighBit": 13})
    dataset.PixelRepresentation = int(signed)
    for number, position in enumerate((0, 1, 14, 15)):
        declare_overlay(dataset, 0x6000 + 2 * number, position)
    data = part10(dataset)
    if syntax != "native":
        tool, *options = WRITTEN[syntax][1]
        data = dcmtk.encoded(data, tool, *options, folder=tmp_path)
    lowest = -2048 if signed else 0
    np.testing.assert_array_equal(decode(data).pixels, np.float32(values - lowest) / np.float32(4095))


def declare_overlay(dataset: Dataset, group: int, position: int) -> None:
    """An overlay in a bit of the pixels' own words (PS3.3 C.9.2)."""
    for element, vr, value in [(0x10, "US", 256), (0x11, "US", 256), (0x40, "CS", "G"), (0x50, "SS", [1, 1])]:
        dataset.add_new((group, element), vr, value)
    dataset.add_new((group, 0x100), "US", 16)
    dataset.add_new((group, 0x102), "US", position)


def test_an_overlay_plane_is_ignored() -> None:
    plain = film(smooth(12), **whole_range(12))
    with_overlay = film(smooth(12), **whole_range(12))
    for element, vr, value in [(0x10, "US", 256), (0x11, "US", 256), (0x40, "CS", "G"), (0x50, "SS", [1, 1])]:
        with_overlay.add_new(0x6000_0000 + element, vr, value)
    with_overlay.add_new(0x60000100, "US", 1)
    with_overlay.add_new(0x60000102, "US", 0)
    with_overlay.add_new(0x60003000, "OW", b"\xff" * (256 * 256 // 8))
    np.testing.assert_array_equal(decode(part10(with_overlay)).pixels, decode(part10(plain)).pixels)


def test_pixels_of_eight_bits_in_big_endian_words(tmp_path: Path) -> None:
    """DCMTK writes them as OW, two pixels a word, so that neighbours are swapped."""
    values = smooth(8, side=257)[:256]
    dataset = film(values)
    dataset["PixelData"].VR = "OW"
    data = dcmtk.encoded(part10(dataset), "dcmconv", "+tb", folder=tmp_path)
    assert dcmread(io.BytesIO(data))["PixelData"].VR == "OW"
    np.testing.assert_array_equal(decode(data).pixels, np.float32(values) / np.float32(255))


def test_padding_after_the_pixels_is_ignored_and_noted() -> None:
    dataset = film(smooth(12), **whole_range(12))
    plain = decode(part10(dataset))
    dataset.PixelData += b"\0" * 64
    image = decode(part10(dataset))
    np.testing.assert_array_equal(image.pixels, plain.pixels)
    assert "PixelData is longer than the film: the rest is ignored" in image.notes


def test_the_offset_table_is_not_trusted(tmp_path: Path) -> None:
    data = dcmtk.encoded(part10(film(smooth(12), **whole_range(12))), "dcmcjpls", folder=tmp_path)
    dataset = dcmread(io.BytesIO(data))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    expected = decode(data).pixels
    table = b"\xfe\xff\x00\xe0\x04\x00\x00\x00\xff\xff\xff\x7f"
    dataset.PixelData = table + encapsulate([frame], has_bot=False)[8:]
    np.testing.assert_array_equal(decode(part10(dataset)).pixels, expected)
