"""PNG and JPEG give their exact grey values, and everything that is no grey film is refused for the right reason."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.pipeline import decode
from app.pipeline.errors import ImageTooLarge, InputError, MalformedImage, UnsuitableImage

SIDE = 256


def grey8(rows: int = SIDE, columns: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (rows, columns), dtype=np.uint8)


def smooth8() -> NDArray[np.uint8]:
    return np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype(np.float64).__truediv__(2).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(pixels: NDArray[np.generic]) -> bytes:
    return encoded(Image.fromarray(pixels))


def with_header_size(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose IHDR claims another size, with the right checksum."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def rgba(alpha: int) -> bytes:
    pixels = np.dstack([grey8()] * 3 + [np.full((SIDE, SIDE), 255, np.uint8)])
    pixels[3, 4, 3] = alpha
    return png(pixels)


def coloured() -> bytes:
    pixels = np.dstack([grey8()] * 3)
    pixels[10:20, 10:20] = (255, 0, 0)
    return png(pixels)


def grey_palette() -> bytes:
    image = Image.fromarray(grey8()[..., :], "L")
    palette = Image.new("P", image.size)
    palette.putpalette([level for grey in range(256) for level in (grey, grey, grey)])
    palette.putdata(list(grey8().ravel().tolist()))
    return encoded(palette)


def grey_with_transparent_key() -> bytes:
    return encoded(Image.fromarray(grey8()), transparency=7)


def animated() -> bytes:
    frames = [Image.fromarray(grey8()), Image.fromarray(255 - grey8())]
    return encoded(frames[0], save_all=True, append_images=frames[1:])


EXACT: dict[str, tuple[Callable[[], bytes], NDArray[np.float32]]] = {
    "8-bit": (lambda: png(grey8()), grey8() / np.float32(255)),
    "16-bit": (
        lambda: png(np.arange(65536, dtype=np.uint16).reshape(SIDE, SIDE)),
        np.arange(65536, dtype=np.float32).reshape(SIDE, SIDE) / np.float32(65535),
    ),
    "1-bit": (lambda: encoded(Image.fromarray(grey8()).point(lambda v: 255 * (v > 99), "1")), np.float32(grey8() > 99)),
    "palette of greys": (grey_palette, grey8() / np.float32(255)),
    "RGB with equal channels": (lambda: png(np.dstack([grey8()] * 3)), grey8() / np.float32(255)),
    "RGBA, opaque": (lambda: rgba(255), grey8() / np.float32(255)),
    "LA, opaque": (
        lambda: png(np.dstack([grey8(), np.full((SIDE, SIDE), 255, np.uint8)])),
        grey8() / np.float32(255),
    ),
    "not square": (lambda: png(grey8(300, 240)), grey8(300, 240) / np.float32(255)),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_pixels(name: str) -> None:
    make, expected = EXACT[name]
    image = decode(make())
    assert image.source_kind == "png"
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels, expected)


def test_sixteen_bits_are_divided_by_full_scale_not_by_the_maximum() -> None:
    pixels = smooth8().astype(np.uint16) * 160
    image = decode(png(pixels))
    assert image.pixels.max() == np.float32(255 * 160) / np.float32(65535)
    assert image.notes == ()


@pytest.mark.parametrize(("bits", "highest"), [(8, 200), (10, 700), (12, 2600), (14, 10_000), (15, 20_000)])
def test_fewer_bits_in_a_container_of_sixteen(bits: int, highest: int) -> None:
    """The divisor is the depth's full scale, not the maximum."""
    pixels = (smooth8() / 255 * highest).astype(np.uint16)
    image = decode(png(pixels))
    np.testing.assert_array_equal(image.pixels, pixels.astype(np.float32) / np.float32(2**bits - 1))
    assert image.notes == (f"{bits} bits in a container of 16: shown over the full scale of {bits} bits",)


def test_a_burned_in_border_does_not_hide_that_the_film_is_dark() -> None:
    """White letters and a white border, 65,535, about a film of 12 bits."""
    pixels = np.full((SIDE, SIDE), 65_535, np.uint16)
    pixels[60:, :] = (smooth8().astype(np.uint16) * 15)[60:, :]
    image = decode(png(pixels))
    low, high = np.percentile(pixels[60:], [0.5, 99.5])
    np.testing.assert_allclose(image.pixels, 0.92 * np.clip((pixels - low) / (high - low), 0, 1), atol=1e-6)
    assert image.notes[0] == "the full scale of 16 bits passed over: it shows nothing brighter than 5% of white"
    assert image.notes[1] == "instead: percentiles 0.5 to 99.5 of the pixels, up to 92% of white"


@pytest.mark.parametrize("lowest", [0, 100, 190])
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "RGB"])
def test_eight_bits_in_a_part_of_their_range_are_spread(lowest: int, colour: bool) -> None:
    pixels = lowest + smooth8() // 4
    image = decode(png(np.dstack([pixels] * 3) if colour else pixels))
    low, high = np.percentile(pixels, [0.5, 99.5])
    np.testing.assert_allclose(image.pixels, 0.92 * np.clip((pixels - low) / (high - low), 0, 1), atol=1e-6)
    assert len(image.notes) == 2


def test_a_dark_film_of_few_greys_is_refused() -> None:
    """Spread out, its sixteen greys would show as steps, which the gate would take for tampering."""
    with pytest.raises(UnsuitableImage, match="16 greys"):
        decode(png(smooth8() // 16))


def test_a_film_of_low_contrast_that_uses_both_halves_is_left_alone() -> None:
    pixels = 60 + smooth8() // 2
    image = decode(png(pixels))
    np.testing.assert_array_equal(image.pixels, pixels / np.float32(255))
    assert image.notes == ()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_grey(mode: str) -> None:
    data = encoded(Image.fromarray(smooth8()).convert(mode), "JPEG", quality=95)
    image = decode(data)
    assert image.source_kind == "jpeg"
    assert np.abs(image.pixels - smooth8() / 255).max() < 0.03
    if mode == "L":
        np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(io.BytesIO(data))) / np.float32(255))


def test_turned_by_its_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    data = encoded(Image.fromarray(grey8(300, 240)), exif=exif)
    np.testing.assert_array_equal(decode(data).pixels, np.rot90(grey8(300, 240), -1) / np.float32(255))


def jpeg() -> bytes:
    return encoded(Image.fromarray(grey8()), "JPEG")


def alpha_constant() -> bytes:
    return png(np.full((SIDE, SIDE), 77, np.uint8))


REFUSED: dict[str, tuple[Callable[[], bytes], type[InputError], str]] = {
    "empty": (lambda: b"", MalformedImage, "empty"),
    "one byte": (lambda: b"\x89", MalformedImage, "neither PNG, JPEG nor DICOM"),
    "text": (lambda: b"a chest film, honestly " * 40, MalformedImage, "neither PNG, JPEG nor DICOM"),
    "GIF": (lambda: encoded(Image.fromarray(grey8()), "GIF"), MalformedImage, "neither PNG, JPEG nor DICOM"),
    "PNG signature alone": (lambda: png(grey8())[:8], MalformedImage, "PNG is damaged"),
    "PNG without its end": (lambda: png(grey8())[:-12], MalformedImage, "PNG is damaged or cut short"),
    "JPEG without its end": (lambda: jpeg()[:-2], MalformedImage, "JPEG is damaged or cut short"),
    "truncated PNG": (lambda: png(grey8())[:30_000], MalformedImage, "PNG is damaged"),
    "truncated JPEG": (lambda: jpeg()[:9_000], MalformedImage, "JPEG is damaged"),
    "PNG with rotten pixels": (
        lambda: png(grey8()).replace(png(grey8())[500:520], b"\0" * 20),
        MalformedImage,
        "PNG is damaged",
    ),
    "PNG claiming 60000x60000": (
        lambda: with_header_size(png(grey8()), 60_000, 60_000),
        ImageTooLarge,
        "60000 x 60000",
    ),
    "1x1": (lambda: png(grey8(1, 1)), UnsuitableImage, "1 x 1"),
    "one short side": (lambda: png(grey8(300, 223)), UnsuitableImage, "at least 224"),
    "100x1000": (lambda: png(grey8(1000, 100)), UnsuitableImage, "100 x 1000"),
    "300x1000": (lambda: png(grey8(1000, 300)), UnsuitableImage, "longer than 2 times"),
    "constant": (alpha_constant, UnsuitableImage, "one value"),
    "animated PNG": (animated, UnsuitableImage, "several frames"),
    "RGBA with a transparent pixel": (lambda: rgba(254), UnsuitableImage, "transparent"),
    "grey with a transparent key": (grey_with_transparent_key, UnsuitableImage, "transparent"),
    "colour": (coloured, UnsuitableImage, "in colour"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, error, words = REFUSED[name]
    with pytest.raises(error, match=words) as caught:
        decode(make())
    assert type(caught.value) is error


def test_the_pixel_limit_is_the_callers() -> None:
    data = png(grey8())
    decode(data, max_pixels=SIDE * SIDE)
    with pytest.raises(ImageTooLarge, match="65,535"):
        decode(data, max_pixels=SIDE * SIDE - 1)


def test_a_faint_tint_is_grey_and_a_stronger_one_is_not() -> None:
    pixels = np.dstack([np.clip(grey8(), 0, 240)] * 3)
    pixels[..., 2] += 12
    expected = pixels.mean(axis=2) / 255
    np.testing.assert_allclose(decode(png(pixels)).pixels, expected, atol=1e-6)
    pixels[0, 0, 2] += 1
    with pytest.raises(UnsuitableImage, match="13 of 255"):
        decode(png(pixels))
