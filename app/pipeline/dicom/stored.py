"""PixelData -> stored values, native or compressed (PS3.5 section 8 and annex A)."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..errors import MalformedImage
from .codecs import CODECS
from .codestream import CodeStream
from .layout import PixelLayout
from .part10 import NATIVE, Part10

_ITEM: Final = 0xE000FFFE  # (FFFE,E000), little endian
#: A frame is one fragment, or a few where a sender splits it.
MAX_FRAGMENTS: Final = 65_536


def stored_values(film: Part10, layout: PixelLayout) -> tuple[NDArray[np.integer], tuple[str, ...]]:
    """Decode the one frame.

    Returns
    -------
    values : ndarray, shape (rows, columns), uint8, uint16 or int32
        Before the modality LUT.
    notes : tuple of str

    Raises
    ------
    MalformedImage
        Fewer pixels than the header claims, or a code stream that contradicts the header.
    """
    if film.syntax in NATIVE:
        return _native(film, layout)
    codec = CODECS[film.syntax]
    frame = _only_frame(film.dataset.PixelData)
    if codec.read_header is None:
        header = CodeStream(0, layout.rows, layout.columns, layout.bits_allocated, 1)
    else:
        header = codec.read_header(frame)
        _require_agreement(header, layout)
        if header.process not in codec.processes or header.precision not in codec.precisions:
            raise MalformedImage(
                f"PixelData (7FE0,0010) holds a stream of another kind, or of {header.precision} bits, than transfer syntax "
                f"{film.syntax.name} allows; correct TransferSyntaxUID (0002,0010)"
            )
    words = codec.decode(frame, header)
    if words.shape != (layout.rows, layout.columns):
        raise MalformedImage("PixelData (7FE0,0010) did not give one value a pixel; send the whole instance again")
    return layout.values_of(words, header.precision), ()


def _native(film: Part10, layout: PixelLayout) -> tuple[NDArray[np.integer], tuple[str, ...]]:
    size = layout.bits_allocated // 8
    expected = layout.rows * layout.columns * size
    data = film.dataset.PixelData
    if len(data) < expected:
        raise MalformedImage(
            f"PixelData (7FE0,0010) is damaged or cut short: {layout.columns} x {layout.rows} pixels need "
            f"{expected:,} bytes, and {len(data):,} came; send the whole instance again"
        )
    words = np.frombuffer(data, dtype=np.uint8 if size == 1 else "<u2" if film.little_endian else ">u2")
    if size == 1 and not film.little_endian and film.dataset["PixelData"].VR == "OW":
        words = (
            words[: words.size // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
        )  # two pixels a word (PS3.5 section 8.1.1)
    pixels = words[: layout.rows * layout.columns].reshape(layout.rows, layout.columns)
    # Even length is the standard's; more than that is somebody's padding, which every viewer ignores.
    surplus = ("PixelData is longer than the film: the rest is ignored",) if len(data) > expected + 1 else ()
    return layout.values_of(pixels, layout.bits_allocated), surplus


def _only_frame(data: bytes) -> bytes:
    """Join the fragments of the only frame (PS3.5 section A.4); the offset table is not needed, and not trusted.

    Raises
    ------
    MalformedImage
        Anything but items, an item that overruns, no fragment, or too many.
    """
    fragments: list[bytes] = []
    position = 0
    while position + 8 <= len(data) and len(fragments) <= MAX_FRAGMENTS:
        tag, length = struct.unpack_from("<II", data, position)
        if tag != _ITEM or position + 8 + length > len(data):
            break
        fragments.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    if position != len(data) or len(fragments) < 2:  # the first item is the offset table
        raise MalformedImage(
            "PixelData (7FE0,0010) is damaged: its items are not an offset table and fragments; send the whole instance again"
        )
    return b"".join(fragments[1:])


def _require_agreement(header: CodeStream, layout: PixelLayout) -> None:
    """A decoder allocates by the stream's own header, which was not checked against the limits; the data set's was."""
    if (header.rows, header.columns, header.components) != (layout.rows, layout.columns, 1):
        raise MalformedImage(
            f"PixelData (7FE0,0010) holds {header.columns} x {header.rows} pixels of {header.components} samples, where "
            f"Columns and Rows say {layout.columns} x {layout.rows} of one; send the whole instance again"
        )
    if header.precision > layout.bits_allocated:
        raise MalformedImage(
            f"PixelData (7FE0,0010) holds {header.precision} bits, where BitsAllocated (0028,0100) is "
            f"{layout.bits_allocated}; correct it"
        )
