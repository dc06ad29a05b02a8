"""Films in wrappings that the standard forbids and senders send: read, and noted, where it is clear what is meant."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from app.pipeline import decode
from app.pipeline.errors import MalformedImage, UnsuitableImage, UnsupportedMedia
from tests.support.films import compressed, part10

from . import dcmtk
from .films import computed12, film, smooth

WHOLE12 = {"WindowCenter": 2048, "WindowWidth": 4096}
GREY = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
STREAM = jpeg2k_encode(computed12(), codecformat="j2k", reversible=True, bitspersample=12)


def levels(data: bytes, most: int) -> NDArray[np.int64]:
    return np.rint(decode(data).pixels * most).astype(np.int64)


# JPEG 2000 as a file


def as_file(*, length: int | None = None, extended: bool = False, before: bytes = b"") -> bytes:
    """The code stream in a JP2 file by hand (ISO/IEC 15444-1 annex I); length 0 is up to the end."""
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 ") + before
    if extended:
        return boxes + struct.pack(">I4sQ", 1, b"jp2c", len(STREAM) + 16) + STREAM
    return boxes + struct.pack(">I4s", len(STREAM) + 8 if length is None else length, b"jp2c") + STREAM


FILES: dict[str, Callable[[], bytes]] = {
    "of OpenJPEG": lambda: jpeg2k_encode(computed12(), codecformat="jp2", reversible=True, bitspersample=12),
    "by hand": as_file,
    "up to the end": lambda: as_file(length=0),
    "extended length": lambda: as_file(extended=True),
    "with a box after it": lambda: as_file() + struct.pack(">I4s4s", 12, b"uuid", b"more"),
    "with another box before": lambda: as_file(before=struct.pack(">I4s8s", 16, b"uuid", b"anything")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_jp2_file_in_place_of_its_code_stream(name: str) -> None:
    frame = FILES[name]()
    assert frame.startswith(b"\0\0\0\x0cjP  ")
    data = part10(compressed(frame, JPEG2000Lossless, film(computed12(), **WHOLE12)))
    np.testing.assert_array_equal(levels(data, 4095), computed12())
    assert "JPEG 2000 came as a JP2 file: its boxes are ignored" in decode(data).notes


@pytest.mark.parametrize(
    "frame",
    [
        as_file()[:32],
        as_file(before=struct.pack(">I4s", 0, b"uuid")),
        as_file(before=struct.pack(">I4s", 8, b"free") * 100),
        as_file()[: -len(STREAM) // 2],
    ],
    ids=["no stream", "a box without end", "a hundred boxes", "half a stream"],
)
def test_a_jp2_file_without_its_code_stream(frame: bytes) -> None:
    with pytest.raises(MalformedImage, match="cut short"):
        decode(part10(compressed(frame, JPEG2000Lossless, film(computed12(), **WHOLE12))))


# Around a stream


@pytest.mark.parametrize("after", [b"\0", b"\xff", b"\0" * 100, b"any bytes of a sender"], ids=repr)
@pytest.mark.parametrize("name", ["JPEG-LS", "JPEG 2000"])
def test_what_follows_a_stream_is_ignored(name: str, after: bytes) -> None:
    syntax, frame, expected = {
        "JPEG-LS": (JPEGLSLossless, jpegls_encode(smooth(12)), smooth(12)),
        "JPEG 2000": (JPEG2000Lossless, STREAM, computed12()),
    }[name]
    data = part10(compressed(frame + after, syntax, film(expected, **WHOLE12)))
    np.testing.assert_array_equal(levels(data, 4095), expected)


@pytest.mark.parametrize("before", ["fill bytes", "segments"])
def test_what_may_stand_before_a_jpegs_frame(before: str, tmp_path: Path) -> None:
    plain = dcmtk.encoded(part10(film(smooth(12), **WHOLE12)), "dcmcjpeg", "+e1", folder=tmp_path)
    frame = get_frame(dcmread(io.BytesIO(plain)).PixelData, 0, number_of_frames=1)
    comment = b"\xff\xfe" + struct.pack(">H", 7) + b"a \xff\xd9 b"[:5]
    changed = b"\xff" * 7 + frame if before == "fill bytes" else frame[:2] + b"\xff\xff\xff" + comment + frame[2:]
    data = part10(compressed(changed, JPEGLosslessSV1, film(smooth(12), **WHOLE12)))
    np.testing.assert_array_equal(decode(data).pixels, decode(plain).pixels)


# How a frame is put into items


def item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def sent_as(value: bytes) -> bytes:
    dataset = compressed(STREAM, JPEG2000Lossless, film(computed12(), **WHOLE12))
    dataset.PixelData = value
    return part10(dataset)


DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
LAYOUTS: dict[str, bytes] = {
    "one fragment": item(b"") + item(STREAM),
    "a table of offsets": item(struct.pack("<I", 0)) + item(STREAM),
    "fragments of odd sizes": item(b"") + item(STREAM[:101]) + item(STREAM[101:1000]) + item(STREAM[1000:]),
    "empty fragments": item(b"") + item(b"") + item(STREAM) + item(b""),
    "no table of offsets": item(STREAM),
    "no table, several fragments": item(STREAM[:1000]) + item(STREAM[1000:]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_fragments(name: str) -> None:
    np.testing.assert_array_equal(levels(sent_as(LAYOUTS[name]), 4095), computed12())


@pytest.mark.parametrize("value", [STREAM, item(b"") + item(STREAM) + DELIMITER], ids=["no items", "delimiter inside"])
def test_a_compressed_value_with_a_length(value: bytes) -> None:
    """Encapsulated pixels have no length (PS3.5 A.4); some senders write one."""
    data = sent_as(item(b"") + item(STREAM))
    start = data.rindex(b"\xe0\x7f\x10\x00")
    padded = value + b"\0" * (len(value) % 2)
    whole = data[:start] + b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<I", len(padded)) + padded
    np.testing.assert_array_equal(levels(whole, 4095), computed12())


def test_compressed_pixels_under_a_native_syntax_are_told() -> None:
    data = sent_as(item(b"") + item(STREAM)).replace(
        JPEG2000Lossless.encode() + b"\0\0", b"1.2.840.10008.1.2.1\0\0\0\0\0"
    )
    data = data.replace(JPEG2000Lossless.encode(), b"1.2.840.10008.1.2.1\0\0\0")
    with pytest.raises(MalformedImage, match=r"is compressed.*TransferSyntaxUID \(0002,0010\)"):
        decode(data)


# Grey films saved in colour


def colour(pixels: NDArray[np.uint8], photometric: str = "RGB", **tags: object) -> Dataset:
    tags = {"PhotometricInterpretation": photometric, "SamplesPerPixel": 3, "PlanarConfiguration": 0, **tags}
    dataset = film(GREY, **tags)
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    return dataset


def neutral(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([grey, np.full_like(grey, 128), np.full_like(grey, 128)])


def pairs(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """YBR_FULL_422: two luminances, then the chroma that they share."""
    return np.dstack([grey[:, ::2], grey[:, 1::2], *[np.full_like(grey[:, ::2], 128)] * 2])


RGB = np.dstack([GREY] * 3)
IN_COLOUR: dict[str, Callable[[], Dataset]] = {
    "RGB": lambda: colour(RGB),
    "RGB, plane by plane": lambda: colour(np.moveaxis(RGB, 2, 0), PlanarConfiguration=1),
    "YBR_FULL": lambda: colour(neutral(GREY), "YBR_FULL"),
    "YBR_FULL, plane by plane": lambda: colour(np.moveaxis(neutral(GREY), 2, 0), "YBR_FULL", PlanarConfiguration=1),
    "YBR_FULL_422": lambda: colour(pairs(GREY), "YBR_FULL_422"),
    "RGB that is said to be YBR_FULL": lambda: colour(RGB, "YBR_FULL"),
    "JPEG 2000": lambda: compressed(
        jpeg2k_encode(RGB, codecformat="j2k", reversible=True, mct=True), JPEG2000Lossless, colour(RGB, "YBR_RCT")
    ),
    "JPEG 2000 of RGB": lambda: compressed(
        jpeg2k_encode(RGB, codecformat="j2k", reversible=True, mct=False), JPEG2000, colour(RGB, "RGB")
    ),
    "JPEG-LS": lambda: compressed(jpegls_encode(RGB), JPEGLSLossless, colour(RGB)),
}


@pytest.mark.parametrize("name", IN_COLOUR)
def test_a_grey_film_saved_in_colour_is_grey(name: str) -> None:
    image = decode(part10(IN_COLOUR[name]()))
    np.testing.assert_array_equal(image.pixels, GREY / np.float32(255))
    assert any(note.startswith("grey film saved as ") for note in image.notes)


@pytest.mark.parametrize(
    "tool", [["dcmcrle"], ["dcmcjpeg", "+el"], ["dcmcjpls"], ["dcmconv", "+tb"], ["dcmconv", "+ti"]]
)
def test_as_dcmtk_writes_it(tool: list[str], tmp_path: Path) -> None:
    data = dcmtk.encoded(part10(colour(RGB)), *tool, folder=tmp_path)
    np.testing.assert_array_equal(decode(data).pixels, GREY / np.float32(255))


@pytest.mark.parametrize("options", [[], ["+cy"], ["+cr"], ["+s4"], ["+s2"]], ids=str)
def test_jpeg_baseline_as_dcmtk_writes_it(options: list[str], tmp_path: Path) -> None:
    """As YCbCr with and without subsampling, and as RGB; 2 of 255 is the loss of the compression."""
    data = dcmtk.encoded(part10(colour(RGB)), "dcmcjpeg", "+eb", *options, folder=tmp_path)
    assert np.abs(decode(data).pixels * 255 - GREY).max() <= 2.5


@pytest.mark.parametrize("space", ["RGB", "YCBCR"])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_jpeg_baseline_whatever_it_is_said_to_be(space: str, photometric: str) -> None:
    frame = jpeg8_encode(RGB, level=98, colorspace="RGB", outcolorspace=space)
    data = part10(compressed(frame, JPEGBaseline8Bit, colour(RGB, photometric)))
    assert np.abs(decode(data).pixels * 255 - GREY).max() <= 2.5


def test_a_faint_tint_is_grey() -> None:
    tinted = RGB.copy()
    tinted[..., 2] = np.minimum(tinted[..., 2].astype(int) + 9, 255)
    shown = decode(part10(colour(tinted))).pixels * 255
    np.testing.assert_allclose(shown, np.rint(tinted.mean(axis=2)), atol=1e-4)


def tinted(photometric: str) -> Dataset:
    pixels = RGB.copy() if photometric == "RGB" else neutral(GREY)
    pixels[3, 4, 2] = 255 if photometric == "RGB" else 160
    return colour(pixels, photometric)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_is_refused(photometric: str) -> None:
    with pytest.raises(UnsuitableImage, match=rf"\(0028,0004\) is '{photometric}', and the pixels are in colour"):
        decode(part10(tinted(photometric)))


def test_real_colour_films_are_refused() -> None:
    """US1_J2KR of David Clunie's collection, told to be a chest film."""
    dataset = dcmread(get_testdata_file("US1_J2KR.dcm", download=False))
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    assert np.ptp(pixel_array(dataset).astype(int), axis=2).max() > 100
    with pytest.raises(UnsuitableImage, match="in colour"):
        decode(part10(dataset))


def test_colour_of_other_kinds_is_refused() -> None:
    dataset = colour(RGB)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    with pytest.raises(UnsuitableImage, match="'PALETTE COLOR' with 3 samples"):
        decode(part10(dataset))


def test_windows_are_not_for_films_saved_in_colour() -> None:
    image = decode(part10(colour(RGB, WindowCenter=40, WindowWidth=80, RescaleSlope=2)))
    np.testing.assert_array_equal(image.pixels, GREY / np.float32(255))
    assert "WindowCenter (0028,1050) passed over: the film was saved in colour" in image.notes


def test_fewer_samples_than_colour_needs() -> None:
    dataset = colour(RGB)
    dataset.PixelData = GREY.tobytes()
    with pytest.raises(MalformedImage, match="need 196,608 bytes, but 65,536 came"):
        decode(part10(dataset))


# Transfer syntaxes


@pytest.mark.parametrize("end", ["\0", " ", "\0\0", "  "], ids=repr)
@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.1", "1.2.840.010008.1.2.01", "01.2.840.10008.1.02.1"])
def test_a_transfer_syntax_with_leading_zeros_or_padding(uid: str, end: str) -> None:
    data = part10(film(smooth(12), **WHOLE12))
    old = b"\x02\0\x10\0UI\x14\x00" + b"1.2.840.10008.1.2.1\0"
    value = (uid + end).encode()
    value += b"\0" * (len(value) % 2)
    changed = data.replace(old, b"\x02\0\x10\0UI" + struct.pack("<H", len(value)) + value)
    assert changed != data or uid + end == "1.2.840.10008.1.2.1\0"
    image = decode(changed)
    np.testing.assert_array_equal(image.pixels, decode(data).pixels)
    noted = [note for note in image.notes if "leading zeros" in note]
    assert bool(noted) == (uid != "1.2.840.10008.1.2.1")


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.1.0", "1.2.840.10008.1.2.10.5", "1.2.840.10008..1.2.1", "one"])
def test_a_transfer_syntax_that_is_none(uid: str) -> None:
    data = part10(film(smooth(12), **WHOLE12))
    value = uid.encode() + b"\0" * (len(uid) % 2)
    old = b"\x02\0\x10\0UI\x14\x00" + b"1.2.840.10008.1.2.1\0"
    with pytest.raises(UnsupportedMedia, match="not in the standard"):
        decode(data.replace(old, b"\x02\0\x10\0UI" + struct.pack("<H", len(value)) + value))


def test_eight_bits_in_sixteen_allocated() -> None:
    dataset = film(smooth(8).astype(np.uint16), BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(decode(part10(dataset)).pixels, smooth(8) / np.float32(255))


def test_rle_of_colour_needs_three_segments() -> None:
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 512
    with pytest.raises(MalformedImage, match="no table of 3 RLE segments"):
        decode(part10(compressed(frame, RLELossless, colour(RGB))))
