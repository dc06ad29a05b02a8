"""Damaged DICOM files, the same from the same seed: one valid film in every transfer syntax, and ways to spoil it.

``python -m tests.pipeline.mutants FILE...`` decodes each file and prints one JSON line for it, in a process of its own,
so that a decoder which crashes or hangs takes no test with it, and so that its memory can be told.
"""

from __future__ import annotations

import io
import json
import re
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imagecodecs import jpeg2k_encode
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import HTJ2K, JPEG2000, HTJ2KLossless, JPEG2000Lossless

from app.pipeline import decode
from app.pipeline.errors import InputError
from tests.support.films import compressed, part10

from . import dcmtk
from .films import computed12, film, smooth

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

#: Tools of DCMTK that give the films, by name of the syntax.
ENCODERS = {
    "explicit": ["dcmconv", "+te"],
    "implicit": ["dcmconv", "+ti"],
    "big-endian": ["dcmconv", "+tb"],
    "deflated": ["dcmconv", "+td"],
    "undefined-lengths": ["dcmconv", "-e"],
    "rle": ["dcmcrle"],
    "jpeg-baseline": ["dcmcjpeg", "+eb"],
    "jpeg-extended": ["dcmcjpeg", "+ee"],
    "jpeg-lossless": ["dcmcjpeg", "+el"],
    "jpeg-lossless-sv1": ["dcmcjpeg", "+e1", "+fs", "4"],
    "jpeg-ls": ["dcmcjpls"],
    "jpeg-ls-near": ["dcmcjpls", "+en"],
}


def valid_films(folder: Path) -> dict[str, bytes]:
    """One 12-bit film in every transfer syntax, with sequences, LUTs and private tags in its header."""
    plain = part10(_film_with_everything(smooth(12)))
    films = {name: dcmtk.encoded(plain, *tool, folder=folder) for name, tool in ENCODERS.items()}
    data = Path(__file__).parent / "data"
    lossless = jpeg2k_encode(computed12(), codecformat="j2k", reversible=True, bitspersample=12)
    lossy = jpeg2k_encode(computed12(), codecformat="j2k", level=60, bitspersample=12)
    for name, syntax, frame in [
        ("jpeg2000-lossless", JPEG2000Lossless, lossless),
        ("jpeg2000-lossy", JPEG2000, lossy),
        ("htj2k-lossless", HTJ2KLossless, (data / "htj2k_lossless.j2k").read_bytes()),
        ("htj2k-lossy", HTJ2K, (data / "htj2k_lossy.j2k").read_bytes()),
    ]:
        films[name] = part10(compressed(frame, syntax, _film_with_everything(computed12())))
    return films


def _film_with_everything(pixels: np.ndarray) -> Dataset:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 12])
    lut.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "816094009", "SCT", "Chest"
    nested = Dataset()
    nested.AnatomicRegionSequence = Sequence([code, code])
    dataset = film(pixels, WindowCenter=2048, WindowWidth=4096, RescaleSlope=1, RescaleIntercept=0, RescaleType="US")
    dataset.PatientOrientation = ["L", "F"]
    dataset.AnatomicRegionSequence = Sequence([code])
    dataset.RequestAttributesSequence = Sequence([nested, nested])
    dataset.ModalityLUTSequence = dataset.VOILUTSequence = Sequence([lut])
    dataset.PixelPaddingValue = 0
    block = dataset.private_block(0x0029, "NOBODY", create=True)
    block.add_new(0x01, "SQ", Sequence([nested]))
    block.add_new(0x02, "OB", bytes(200))
    return dataset


@dataclass(frozen=True)
class Mutant:
    """A spoiled film; its name says of which syntax, how, and by which seed."""

    name: str
    data: bytes


def mutants(films: dict[str, bytes], count: int, first_seed: int = 0) -> list[Mutant]:
    """`count` mutants, of each syntax and each mutation in turn."""
    names = list(films)
    made = []
    for seed in range(first_seed, first_seed + count):
        syntax = names[seed % len(names)]
        mutation = MUTATIONS[seed // len(names) % len(MUTATIONS)]
        data = mutation(films[syntax], np.random.default_rng(seed))
        made.append(Mutant(f"{seed:05d}-{syntax}-{mutation.__name__}", data))
    return made


def _where_pixels_start(data: bytes) -> int:
    """Offset of the tag (7FE0,0010); that of the data set's middle where it is deflated."""
    found = max(data.rfind(b"\xe0\x7f\x10\x00"), data.rfind(b"\x7f\xe0\x00\x10"))
    return found if found > 132 else (132 + len(data)) // 2


def _where_stream_starts(data: bytes) -> int:
    """Offset of the code stream, or of the pixels where there is none."""
    start = _where_pixels_start(data)
    for mark in (b"\xff\xd8\xff", b"\xff\x4f\xff\x51"):
        if (found := data.find(mark, start)) > 0:
            return found
    return start + 12


def _overwritten(data: bytes, random: Random, low: int, high: int, count: int) -> bytes:
    changed = bytearray(data)
    for offset in random.integers(low, min(high, len(data)), count):
        changed[offset] = random.integers(0, 256)
    return bytes(changed)


def header_bytes(data: bytes, random: Random) -> bytes:
    return _overwritten(data, random, 132, _where_pixels_start(data), int(random.integers(1, 9)))


def pixel_bytes(data: bytes, random: Random) -> bytes:
    return _overwritten(data, random, _where_pixels_start(data), len(data), int(random.integers(1, 40)))


def stream_header_bytes(data: bytes, random: Random) -> bytes:
    start = _where_stream_starts(data)
    return _overwritten(data, random, start, start + 120, int(random.integers(1, 5)))


def stream_header_words(data: bytes, random: Random) -> bytes:
    """Extreme numbers where a stream's size, tiles and tables stand."""
    start = _where_stream_starts(data)
    size = int(random.choice([2, 4]))
    value = int(random.choice([0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 300]))
    offset = start + int(random.integers(2, 110))
    return data[:offset] + value.to_bytes(size, "big") + data[offset + size :]


def lengths(data: bytes, random: Random) -> bytes:
    """Wrong lengths of one to three elements, where explicit VR shows where they stand."""
    changed = bytearray(data)
    known = [data.find(vr, 132) for vr in (b"SQ\0\0", b"OW\0\0", b"OB\0\0", b"US\2\0", b"CS", b"DS", b"UI", b"LO")]
    items = [data.find(tag, 132) for tag in (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")]
    places = [(at + 4, 4) for at in (*known[:3], *items) if at > 0] + [(at + 2, 2) for at in known[3:] if at > 0]
    places = places or [(int(random.integers(140, len(data) - 4)), 4)]
    for _ in range(int(random.integers(1, 4))):
        offset, size = places[int(random.integers(len(places)))]
        changed[offset : offset + size] = random.choice(
            np.frombuffer(b"\0\0\0\0\xff\xff\xff\xff\xfe\xff\xff\x7f\1\0\0\0\xff\xff\0\0", np.uint32)
        ).tobytes()[:size]
    return bytes(changed)


def fragments(data: bytes, random: Random) -> bytes:
    """Wrong tags and lengths in the table of fragments, or in the first bytes of native pixels."""
    start = _where_pixels_start(data)
    item = data.find(b"\xfe\xff\x00\xe0", start)
    offset = (item if item > 0 else start + 8) + int(random.integers(0, 24))
    value = random.choice(np.array([0, 1, 2**32 - 1, 2**31, 0xE0DDFFFE, 0xE00DFFFE, 7], np.uint32)).tobytes()
    return data[:offset] + value + data[offset + 4 :]


def truncation(data: bytes, random: Random) -> bytes:
    return data[: int(random.integers(133, len(data)))]


def deletion(data: bytes, random: Random) -> bytes:
    offset = int(random.integers(132, len(data)))
    return data[:offset] + data[offset + int(random.integers(1, 2000)) :]


def insertion(data: bytes, random: Random) -> bytes:
    offset = int(random.integers(132, _where_pixels_start(data) + 100))
    return data[:offset] + random.bytes(int(random.integers(1, 300))) + data[offset:]


def repetition(data: bytes, random: Random) -> bytes:
    offset, length = int(random.integers(132, len(data))), int(random.integers(1, 3000))
    return (
        data[: offset + length] + data[offset : offset + length] * int(random.integers(1, 20)) + data[offset + length :]
    )


def nesting(data: bytes, random: Random) -> bytes:
    """Before the pixels, sequences in sequences, or very many empty items, closed or not."""
    start = _where_pixels_start(data)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    opened = struct.pack("<HH2sHI", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF)
    closed = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    depth = int(random.choice([3, 100, 400, 5000]))
    if random.random() < 0.5:
        middle = (opened + item) * depth + closed * (depth if random.random() < 0.5 else 0)
    else:
        middle = opened + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * depth * 20 + closed[8:]
    return data[:start] + middle + data[start:]


def values(data: bytes, random: Random) -> bytes:
    """Extreme values of tags that are read, and of wrong kinds."""
    dataset = dcmread(io.BytesIO(data))
    for _ in range(int(random.integers(1, 4))):
        keyword, vr, value = EXTREMES[int(random.integers(len(EXTREMES)))]
        dataset.add_new(keyword, vr, value)
    return part10(dataset)


EXTREMES: list[tuple[str, str, object]] = [
    ("Rows", "US", 65_535), ("Columns", "US", 65_535), ("Rows", "US", 0), ("Columns", "US", [256, 256]),
    ("Rows", "LO", "two hundred"), ("BitsAllocated", "US", 32), ("BitsAllocated", "US", 1), ("BitsStored", "US", 0),
    ("BitsStored", "US", 65_535), ("BitsStored", "US", 16), ("HighBit", "US", 15), ("HighBit", "US", 200),
    ("PixelRepresentation", "US", 1), ("PixelRepresentation", "US", 7), ("SamplesPerPixel", "US", 3),
    ("NumberOfFrames", "IS", "2147483647"), ("NumberOfFrames", "IS", "-1"), ("PhotometricInterpretation", "CS", "RGB"),
    ("WindowCenter", "DS", "1e308"), ("WindowWidth", "DS", "1e-308"), ("WindowWidth", "DS", "-1"),
    ("RescaleSlope", "DS", "1e308"), ("RescaleSlope", "DS", "0"), ("RescaleIntercept", "DS", "-1e308"),
    ("PixelPaddingValue", "US", 65_535), ("PixelPaddingRangeLimit", "US", 4095), ("PixelPaddingValue", "LO", "none"),
    ("VOILUTFunction", "CS", "SIGMOID"), ("VOILUTFunction", "CS", "?"), ("PresentationLUTShape", "CS", "INVERSE"),
    ("VOILUTSequence", "SQ", Sequence([Dataset()])), ("ModalityLUTSequence", "SQ", Sequence([Dataset()])),
    ("VOILUTSequence", "LO", "a table"), ("PatientOrientation", "CS", ["?", "?", "?"]), ("Modality", "US", 7),
    ("AnatomicRegionSequence", "LO", "chest"), ("ViewCodeSequence", "SQ", Sequence([Dataset()])),
]  # fmt: skip

MUTATIONS: list[Mutation] = [
    header_bytes, pixel_bytes, stream_header_bytes, stream_header_words, lengths, fragments, truncation, deletion, insertion,
    repetition, nesting, values,
]  # fmt: skip


def peak_mib() -> float:
    """The most memory that this process has held (getrusage tells that of the parent, if it was more)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def main(paths: list[str]) -> None:
    print(json.dumps({"peak_mib": peak_mib()}), flush=True)
    for path in paths:
        data = Path(path).read_bytes()
        print(json.dumps({"file": Path(path).name}), flush=True)  # of which a crash is
        started = time.perf_counter()
        try:
            pixels = decode(data).pixels
            outcome, message = "image", str(pixels.dtype)
        except InputError as error:
            outcome, message = type(error).__name__, str(error)
        except Exception as error:  # what the test is about
            outcome, message = f"not of the pipeline: {type(error).__name__}", str(error)
        print(
            json.dumps(
                {
                    "outcome": outcome,
                    "message": message,
                    "seconds": time.perf_counter() - started,
                    "peak_mib": peak_mib(),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
