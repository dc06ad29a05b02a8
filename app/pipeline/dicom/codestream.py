"""What the header of a compressed frame says of itself, read before a decoder allocates by it.

JPEG and JPEG-LS: ISO/IEC 10918-1 annex B, ISO/IEC 14495-1 annex C. JPEG 2000: ISO/IEC 15444-1 annex A.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ..errors import MalformedImage

#: Frame headers by process; C4, C8 and CC are tables and extensions.
BASELINE, EXTENDED, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC3, 0xF7
JPEG_2000: Final = 0x51  # its SIZ segment
_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {JPEG_LS}
_START_OF_SCAN: Final = 0xDA
_END: Final = b"\xff\xd9"
_START_OF_TILE_PART: Final = b"\xff\x90"
#: OpenJPEG allocates some kilobytes a tile before it has seen any; a film of 40 million pixels in tiles of 128 has 2,500.
MAX_TILES: Final = 4096
JP2_SIGNATURE: Final = b"\0\0\0\x0cjP  "
#: A JP2 file of a film has some four boxes.
MAX_BOXES: Final = 64


@dataclass(frozen=True)
class CodeStream:
    """A compressed frame's own header.

    Attributes
    ----------
    process : int
        Marker of the frame header.
    rows, columns, precision, components : int
        Pixels, pixels, bits, and samples a pixel.
    """

    process: int
    rows: int
    columns: int
    precision: int
    components: int


def _damaged(what: str) -> MalformedImage:
    return MalformedImage(f"PixelData (7FE0,0010) is damaged or cut short: {what}; send the whole instance again")


def start_of_jpeg(frame: bytes) -> bytes:
    """The frame without the fill bytes that may stand before any marker (ISO/IEC 10918-1 B.1.1.2), the first included."""
    filled = len(frame) - len(frame.lstrip(b"\xff"))
    return frame[filled - 1 :] if filled > 1 and frame[filled : filled + 1] == b"\xd8" else frame


def read_jpeg_header(frame: bytes) -> CodeStream:
    """Walk the segments of a JPEG or JPEG-LS frame up to its first scan.

    Raises
    ------
    MalformedImage
        No start, no frame header before the first scan, or no end.
    """
    if frame[:2] != b"\xff\xd8":
        raise _damaged("no JPEG stream starts in its first fragment")
    position, found = 2, None
    while position + 4 <= len(frame):
        if frame[position] != 0xFF:
            break
        marker = frame[position + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            position += 1
            continue
        (length,) = struct.unpack_from(">H", frame, position + 2)
        if length < 2:
            break
        if marker in _FRAME_MARKERS:
            if found is not None or length < 8 or position + 10 > len(frame):
                break
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, position + 4)
            found = CodeStream(marker, rows, columns, precision, components)
        elif marker == _START_OF_SCAN and found is not None:
            # Pixels never hold the marker of the end (10918-1 B.1.1.5). What follows it is padding, or nobody's.
            if frame.find(_END, position + 2 + length) < 0:
                raise _damaged("the JPEG stream has no end")  # decoders fill what is missing with grey, and say nothing
            return found
        position += 2 + length
    raise _damaged("the JPEG stream has no valid header")


def start_of_jpeg2000(frame: bytes) -> bytes:
    """The code stream of a frame; that in a JP2 file (ISO/IEC 15444-1 annex I), which PS3.5 A.4.4 forbids and senders send.

    Raises
    ------
    MalformedImage
        A JP2 file without a code stream.
    """
    if not frame.startswith(JP2_SIGNATURE):
        return frame
    position = 0
    for _ in range(MAX_BOXES):
        if position + 8 > len(frame):
            break
        length, kind = struct.unpack_from(">I4s", frame, position)
        header = 8
        if length == 1 and position + 16 <= len(frame):
            (length,) = struct.unpack_from(">Q", frame, position + 8)
            header = 16
        if kind == b"jp2c":
            return frame[position + header : position + length if length else None]
        if length < header:
            break
        position += length
    raise _damaged("it is a JP2 file without a code stream")


def read_jpeg2000_header(frame: bytes) -> CodeStream:
    """Read the SIZ segment, which stands first.

    Raises
    ------
    MalformedImage
        No start, no SIZ, no end, subsampling, more tiles than a film has, or fewer than the stream states.
    """
    if frame[:4] != b"\xff\x4f\xff\x51" or len(frame) < 45:
        raise _damaged("no JPEG 2000 stream starts in its first fragment")
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, components = struct.unpack_from(
        ">8IH", frame, 8
    )
    depth, step_x, step_y = struct.unpack_from(">3B", frame, 42)
    if not (left < width and top < height and tile_left <= left and tile_top <= top and tile_width and tile_height):
        raise _damaged("the JPEG 2000 stream has an impossible size")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if tiles > MAX_TILES or (step_x, step_y) != (1, 1):
        raise MalformedImage(
            f"PixelData (7FE0,0010) is JPEG 2000 with {tiles:,} tiles and subsampling {step_x}x{step_y}; "
            f"at most {MAX_TILES:,} and 1x1 are read. Send it as Explicit VR Little Endian"
        )
    _require_every_tile(frame, tiles)
    return CodeStream(JPEG_2000, height - top, width - left, (depth & 0x7F) + 1, components)


def _require_every_tile(frame: bytes, tiles: int) -> None:
    """Walk the tile-parts (ISO/IEC 15444-1 A.4.2): OpenJPEG shows a tile that is missing as black, and says nothing."""
    position = 2
    while frame[position : position + 1] == b"\xff" and frame[position : position + 2] != _START_OF_TILE_PART:
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    missing = set(range(tiles))
    while frame[position : position + 2] == _START_OF_TILE_PART and position + 12 <= len(frame):
        tile, length = struct.unpack_from(">HI", frame, position + 4)
        missing.discard(tile)
        if length == 0:  # up to the end
            position = max(frame.rfind(_END), position + 12)
        elif length < 12:
            break
        else:
            position += length
    if position >= len(frame):
        raise _damaged("the JPEG 2000 stream has no end")
    if missing or frame[position : position + 2] != _END:
        raise _damaged("the JPEG 2000 stream lacks tiles, or they do not fill it")
