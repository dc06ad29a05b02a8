"""A PNG or JPEG without the parts that say nothing of its pixels, on which decoders may waste much time.

Four hundred colour profiles in a megabyte of PNG unpack to 360 MB, one after the other; a thousand EXIF segments are
joined one by one. Parts that are not needed to decode the pixels, and to turn them as EXIF says, are dropped unread.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from .errors import MalformedImage
from .image import SourceKind

#: libpng writes pixels in chunks of 8 KiB, and Pillow takes a microsecond or more for each, however empty.
MAX_PNG_CHUNKS: Final = 50_000
#: Chunks with pixels, transparency or orientation, and those that announce several frames.
NEEDED_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
#: Segments before the first scan. A colour profile takes up to 255, and the rest some ten.
MAX_JPEG_SEGMENTS: Final = 10_000
#: A film's PNG has one or two pixels a byte, its JPEG ten to thirty. A million pixels cost some 15 ms, however few the bytes.
PIXELS_A_BYTE: Final = 32
USUAL_PIXELS: Final = 4_000_000
#: Cost of a pixel, in pixels of 8-bit grey: by the colour type of a PNG (W3C PNG section 11.2.1), and of a JPEG with
#: several components.
_COST_OF_PNG: Final = {0: 1, 2: 4, 3: 2, 4: 3, 6: 3}
_COST_OF_COLOUR: Final = 5
#: EXIF says how the film is turned, MPF that there are several; the first of each is kept.
_EXIF: Final = b"Exif\0\0"
_MPF: Final = b"MPF\0"
#: A marker. Bytes before it are fill, or junk that decoders skip.
_MARKER: Final = re.compile(rb"\xff[^\0\xff]")
_SOS: Final = 0xDA
_COM: Final = 0xFE
_APP: Final = range(0xE0, 0xF0)
#: JFIF and Adobe say which colours the samples have.
_NEEDED_APP: Final = frozenset({0xE0, 0xEE})
#: Markers that have a length (ITU-T T.81 table B.1); the others stand alone.
_WITH_LENGTH: Final = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xE0), *_APP, _COM}) - {0xC8}
_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})


def is_out_of_proportion(data: bytes, kind: SourceKind) -> bool:
    """Whether a PNG or JPEG may cost far more than its size suggests: many pixels in few bytes, in colour, or read
    again and again.

    Only its header counts; the file may still be damaged.
    """
    work = _work_of_png(data) if kind == "png" else _work_of_jpeg(data) * max(1, data.count(b"\xff\xda"))
    return work > max(USUAL_PIXELS, PIXELS_A_BYTE * len(data))


def _work_of_png(data: bytes) -> int:
    """Pixels of 8-bit grey that cost as much as the image of its header (W3C PNG section 11.2.1)."""
    columns, rows, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29].ljust(13, b"\0"))
    return int(rows * columns * _COST_OF_PNG.get(colour, 1) * (2 if depth == 16 else 1) * (2 if interlaced else 1))


def _work_of_jpeg(data: bytes) -> int:
    """The same for the most expensive of its frame headers (ITU-T T.81 section B.2.2)."""
    most, at = 0, 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        start, marker = found.start(), data[found.start() + 1]
        if marker == _SOS or marker not in _WITH_LENGTH | _ALONE:
            break
        if marker in _FRAME:
            rows, columns = (int.from_bytes(data[start + place : start + place + 2], "big") for place in (5, 7))
            most = max(most, rows * columns * (_COST_OF_COLOUR if data[start + 9 : start + 10] > b"\1" else 1))
        at = start + 2
        if marker in _WITH_LENGTH:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return most


def strip_png(data: bytes) -> bytes:
    """The needed chunks; the same bytes if all are needed.

    Raises
    ------
    MalformedImage
        No end, or more chunks than any film has.
    """
    kept: list[bytes] = []
    since, at = 0, 8  # behind the signature: length, type, content, checksum (W3C PNG section 5.3)
    for _ in range(MAX_PNG_CHUNKS):
        if at + 12 > len(data):
            raise MalformedImage("the PNG is damaged or cut short: it has no end; send the whole file again")
        kind = data[at + 4 : at + 8]
        if kind == b"IEND":
            return b"".join([*kept, data[since:]]) if kept else data
        behind = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind not in NEEDED_CHUNKS:
            kept.append(data[since:at])
            since = behind
        at = behind
    raise MalformedImage(f"the PNG has over {MAX_PNG_CHUNKS:,} chunks, more than any film; save it anew")


def strip_jpeg(data: bytes) -> bytes:
    """The needed segments, and everything from the first scan on; the same bytes if all are needed.

    Bytes between segments, which decoders skip, are dropped too. If a marker is wrong, the decoder reports it.

    Raises
    ------
    MalformedImage
        More segments than any film has.
    """
    kept: list[bytes] = []
    firsts = {_EXIF, _MPF}
    since, at = 0, 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            break
        start, marker = found.start(), data[found.start() + 1]
        if start > at:
            kept.append(data[since:at])
            since = start
        if marker == _SOS or marker not in _WITH_LENGTH | _ALONE:
            break
        behind = start + 2
        if marker in _WITH_LENGTH:
            behind += max(2, int.from_bytes(data[behind : behind + 2], "big"))
        if not _is_needed(marker, data[start + 4 : start + 10], firsts):
            kept.append(data[since:start])
            since = behind
        at = behind
    else:
        raise MalformedImage(f"the JPEG has over {MAX_JPEG_SEGMENTS:,} segments, more than any film; save it anew")
    return b"".join([*kept, data[since:]]) if kept else data


def _is_needed(marker: int, beginning: bytes, firsts: set[bytes]) -> bool:
    """Whether a segment is needed; `firsts` loses the kinds that have come."""
    if marker == _COM or (marker in _APP and marker not in _NEEDED_APP):
        found = next((one for one in firsts if beginning.startswith(one)), None)
        if found is None:
            return False
        firsts.remove(found)
    return True
