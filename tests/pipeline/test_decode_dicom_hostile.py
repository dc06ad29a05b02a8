"""Damaged and hostile files: every outcome is an image or one of the pipeline's errors, soon, and in bounded memory."""

import json
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from app.pipeline import decode
from app.pipeline.errors import ImageTooLarge, InputError, MalformedImage
from tests.support.films import compressed, part10

from .films import NAME, PATIENT_ID, computed12, film, smooth
from .mutants import mutants, valid_films

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = 500
SECONDS_EACH, SECONDS_TOGETHER = 5.0, 60.0  # the service's deadline is 30 s
GROWTH_MIB = 300.0
OUTCOMES = {"image", "MalformedImage", "UnsuitableImage", "UnsupportedMedia", "ImageTooLarge"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return valid_films(tmp_path_factory.mktemp("films"))


def test_before_they_are_spoiled_the_films_can_be_decoded(films: dict[str, bytes]) -> None:
    for data in films.values():
        assert decode(data).pixels.shape in {(256, 256), (256, 224)}


def test_mutants_are_the_same_each_time(films: dict[str, bytes]) -> None:
    assert mutants(films, 60) == mutants(films, 60)


def test_500_mutants(films: dict[str, bytes], tmp_path: Path) -> None:
    """In a process of their own, whose memory is theirs alone, and whose crash would fail this test and no other."""
    made = mutants(films, MUTANTS)
    for mutant in made:
        (tmp_path / mutant.name).write_bytes(mutant.data)
    started = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.mutants", *(str(tmp_path / mutant.name) for mutant in made)],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * SECONDS_TOGETHER, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, f"the decoder crashed at {lines[-1]}: {child.stderr[-2000:]}"
    assert time.monotonic() - started < SECONDS_TOGETHER
    results = {named["file"]: result for named, result in zip(lines[1::2], lines[2::2], strict=True)}
    assert len(results) == MUTANTS
    assert {name: one for name, one in results.items() if one["outcome"] not in OUTCOMES} == {}
    assert {name: one for name, one in results.items() if one["seconds"] > SECONDS_EACH} == {}
    assert lines[-1]["peak_mib"] - lines[0]["peak_mib"] < GROWTH_MIB
    said = " ".join(one["message"] for one in results.values()) + child.stderr
    for secret in (*NAME.split("^"), PATIENT_ID):
        assert secret not in said
    outcomes = Counter(one["outcome"] for one in results.values())
    assert min(outcomes["image"], outcomes["MalformedImage"], outcomes["UnsuitableImage"]) >= 10, outcomes


# What no mutation finds by chance


def quickly(data: bytes, error: type[InputError], words: str, **options: int) -> None:
    started = time.monotonic()
    with pytest.raises(error, match=words):
        decode(data, **options)
    assert time.monotonic() - started < SECONDS_EACH


def before_pixels(element: bytes, data: bytes | None = None) -> bytes:
    whole = data or part10(film())
    start = whole.rfind(b"\xe0\x7f\x10\x00")
    return whole[:start] + element + whole[start:]


def test_a_deflated_bomb_is_not_inflated(films: dict[str, bytes]) -> None:
    """128 MiB of zeros are 127 KiB deflated; with a limit of 100,000 pixels, some 16 MiB are inflated at most."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(128 * 1024 * 1024)) + deflater.flush()
    quickly(_meta_of(films["deflated"]) + bomb, ImageTooLarge, "when inflated", max_pixels=100_000)


def test_a_deflated_film_cut_short(films: dict[str, bytes]) -> None:
    quickly(films["deflated"][:-20], MalformedImage, "cut short")


def _meta_of(data: bytes) -> bytes:
    """Preamble and file meta header, by its group length (0002,0000)."""
    (length,) = struct.unpack_from("<I", data, 140)
    return data[: 144 + length]


@pytest.mark.parametrize("tag", [b"\x29\x00\x01\x10", b"\x28\x00\x10\x30"], ids=["private", "VOILUTSequence"])
@pytest.mark.parametrize("defined", [True, False], ids=["defined length", "undefined length"])
def test_millions_of_empty_items(tag: bytes, defined: bool) -> None:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 2_000_000
    end = b"" if defined else struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    length = len(items) if defined else 0xFFFFFFFF
    data = before_pixels(tag + b"SQ\0\0" + struct.pack("<I", length) + items + end)
    if defined and tag == b"\x29\x00\x01\x10":  # never looked into
        decode(data)
    else:
        quickly(data, MalformedImage, "than any film")


def test_a_value_of_millions_of_numbers() -> None:
    text = b"1\\" * 10_000_000
    quickly(
        before_pixels(b"\x28\0\x50\x10" + b"UN\0\0" + struct.pack("<I", len(text)) + text), MalformedImage, "longer"
    )


def test_a_lut_of_millions_of_entries() -> None:
    entries = bytes(20_000_000)
    item = b"\x28\0\x06\x30" + b"OW\0\0" + struct.pack("<I", len(entries)) + entries
    opened = b"\x28\0\x10\x30" + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    quickly(before_pixels(opened + item + closed), MalformedImage, "longer")


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_sequences_nested_without_end(depth: int) -> None:
    one = b"\x29\0\x01\x10" + b"SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    quickly(before_pixels(one * depth), MalformedImage, "damaged or cut short")


def jpeg_claiming(rows: int, columns: int) -> bytes:
    head = b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", rows, columns) + b"\1\1\x11\0"
    return head + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(64) + b"\xff\xd9"


def jpeg2000_with(offset: int, *values: int) -> bytes:
    """A valid stream with some of SIZ's words (ISO/IEC 15444-1 A.5.1) replaced: 8 is its width, 24 that of a tile."""
    stream = jpeg2k_encode(computed12(), codecformat="j2k", reversible=True, bitspersample=12)
    return stream[:offset] + struct.pack(f">{len(values)}I", *values) + stream[offset + 4 * len(values) :]


STREAMS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "JPEG of another size": (JPEGBaseline8Bit, lambda: jpeg_claiming(65_535, 65_535), "65535 x 65535"),
    "JPEG without end": (JPEGBaseline8Bit, lambda: jpeg_claiming(256, 224)[:-2], "no end"),
    "JPEG of no scan": (JPEGBaseline8Bit, lambda: b"\xff\xd8\xff\xe0\0\x04ab\xff\xd9", "no valid header"),
    "JPEG 2000 of another size": (
        JPEG2000Lossless,
        lambda: jpeg2000_with(8, 65_535, 65_535, 0, 0, 65_535, 65_535),
        "65535 x 65535",
    ),
    "JPEG 2000 in tiles of a pixel": (JPEG2000Lossless, lambda: jpeg2000_with(24, 1, 1), "57,344 tiles"),
    "JPEG 2000 with missing tiles": (JPEG2000Lossless, lambda: jpeg2000_with(24, 128, 128), "lacks tiles"),
    "JPEG 2000 in no tiles": (JPEG2000Lossless, lambda: jpeg2000_with(24, 0), "impossible size"),
    "RLE of a hundred segments": (RLELossless, lambda: struct.pack("<16I", 100, *range(64, 79)), "RLE segments"),
    "RLE bomb": (
        RLELossless,
        lambda: struct.pack("<16I", 2, 64, 64 + 2_000_000, *[0] * 13) + b"\x81\0" * 2_000_000,
        "damaged or cut short",
    ),
    "RLE cut short": (RLELossless, lambda: struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x81\0" * 2, "ends early"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_contradicts_the_data_set_is_refused_before_its_decoder(name: str) -> None:
    syntax, make, words = STREAMS[name]
    bits = {"BitsStored": 8, "HighBit": 7, "BitsAllocated": 8} if syntax == JPEGBaseline8Bit else {}
    quickly(part10(compressed(make(), syntax, film(computed12(), **bits))), MalformedImage, words)


def test_a_stream_of_another_kind_than_the_syntax_says(films: dict[str, bytes]) -> None:
    wrong = films["jpeg-lossless"].replace(b"1.2.840.10008.1.2.4.57", b"1.2.840.10008.1.2.4.51")
    quickly(wrong, MalformedImage, "another kind")


@pytest.mark.parametrize("name", ["explicit", "implicit"])
def test_an_encoding_that_the_syntax_does_not_say(films: dict[str, bytes], name: str) -> None:
    other = films["implicit" if name == "explicit" else "explicit"]
    body = films[name][len(_meta_of(films[name])) :]
    quickly(_meta_of(other) + body, MalformedImage, r"not encoded as TransferSyntaxUID \(0002,0010\)")


@pytest.mark.parametrize("count", [0, 70_000])
def test_fragments_none_or_too_many(count: int) -> None:
    dataset = compressed(b"\0\0", RLELossless, film(smooth(12)))
    dataset.PixelData = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (count + 1)
    quickly(part10(dataset), MalformedImage, "not an offset table and fragments|than any film")


def test_memory_of_the_largest_film(tmp_path: Path) -> None:
    """40 million pixels of 16 bits: the pixels themselves, their values, and their shades of four bytes."""
    pixels = (np.arange(5000 * 8000, dtype=np.uint32) % 65_521).astype(np.uint16).reshape(5000, 8000)
    path = tmp_path / "plate.dcm"
    path.write_bytes(part10(film(pixels, BitsStored=16, HighBit=15)))
    child = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.mutants", str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    before, _, after = (json.loads(line) for line in child.stdout.splitlines())
    assert after["outcome"] == "image"
    assert after["peak_mib"] - before["peak_mib"] < 1200
