"""Small PNG and JPEG files that would keep a decoder busy for minutes, or unfold to gigabytes, are refused before it starts."""

from __future__ import annotations

import functools
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.pipeline import decode
from app.pipeline.errors import InputError, MalformedImage
from app.pipeline.raster import MAX_JPEG_SCANS
from app.pipeline.stripping import MAX_PNG_CHUNKS

RAMP = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint16) // 2
MOST_BYTES = 40 * 2**20  # what decoding may take; the bombs unfold to five times that


def encoded(kind: str, **options: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(chunks: bytes, *, in_place_of_pixels: bool = False) -> bytes:
    """A PNG with more before its pixels, or with other ones."""
    png = encoded("PNG")
    at = png.index(b"IDAT") - 4
    return png[:at] + chunks + (chunk(b"IEND") if in_place_of_pixels else png[at:])


def jpeg_with(scans: int) -> bytes:
    """A progressive JPEG whose last scan, of some bytes, is there again and again."""
    jpeg = encoded("JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * scans + jpeg[-2:]


@functools.cache
def zeros() -> bytes:
    """200 MB in 200 KB."""
    return zlib.compress(bytes(200 * 2**20), 9)


BUSY: dict[str, Callable[[], bytes]] = {
    "JPEG of a million scans": lambda: jpeg_with(1_000_000),
    "PNG of a million empty IDAT": lambda: png_with(chunk(b"IDAT") * 1_000_000),
    "PNG of a million unknown chunks": lambda: png_with(chunk(b"abCd") * 1_000_000),
}


@pytest.mark.parametrize("name", BUSY)
def test_it_is_refused_unread(name: str) -> None:
    with pytest.raises(MalformedImage, match="more than any film"):
        decode(BUSY[name]())


UNFOLDING: dict[str, Callable[[], bytes]] = {
    "IDAT": lambda: png_with(chunk(b"IDAT", zeros()), in_place_of_pixels=True),
}


@pytest.mark.parametrize("name", UNFOLDING)
def test_it_is_not_unfolded(name: str) -> None:
    data = UNFOLDING[name]()
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


DROPPED: dict[str, Callable[[], bytes]] = {
    "zTXt": lambda: png_with(chunk(b"zTXt", b"a\0\0" + zeros())),
    "iTXt": lambda: png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros())),
    "iCCP": lambda: png_with(chunk(b"iCCP", b"a\0\0" + zeros())),
}


@pytest.mark.parametrize("name", DROPPED)
def test_what_says_nothing_of_the_pixels_is_not_unfolded(name: str) -> None:
    data = DROPPED[name]()
    tracemalloc.start()
    try:
        assert decode(data).pixels.shape == (256, 256)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_films_as_they_are_written_are_within_the_limits() -> None:
    assert encoded("JPEG", progressive=True).count(b"\xff\xda") < MAX_JPEG_SCANS / 5
    small = b"".join(chunk(b"tEXt", b"a\0b") for _ in range(MAX_PNG_CHUNKS // 100))
    assert decode(png_with(small)).pixels.shape == decode(jpeg_with(20)).pixels.shape == (256, 256)
