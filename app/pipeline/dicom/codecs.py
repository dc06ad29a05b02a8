"""The decoder of each compressed transfer syntax, and the code streams that the syntax may hold.

None falls back on another: one syntax, one decoder, and so one answer. Each takes a whole frame, whose header was
checked, and gives the words as they lie in the container. All come from imagecodecs, whose C libraries report damage as
an error and let other threads run. GDCM does not: bytes that it cannot read end the process (``std::terminate``), as
``tests/pipeline/mutants.py`` found; neither does pylibjpeg-rle, whose panics no ``except Exception`` catches.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode, packbits_decode
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from ..errors import MalformedImage
from .codestream import (
    BASELINE,
    EXTENDED,
    JPEG_2000,
    JPEG_LS,
    LOSSLESS,
    CodeStream,
    read_jpeg2000_header,
    read_jpeg_header,
    start_of_jpeg,
    start_of_jpeg2000,
)

Words = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Codec:
    """How frames of one transfer syntax are read.

    Attributes
    ----------
    read_header : callable
        frame -> CodeStream; None for RLE, which has no header of its own.
    processes : frozenset of int
        Frame headers that the syntax may hold.
    precisions : range
        Bits that it may hold.
    decode : callable
        frame, header -> words, shape (rows, columns), or (rows, columns, 3).
    start : callable
        frame -> the frame without what senders put around a stream.
    """

    read_header: Callable[[bytes], CodeStream] | None
    processes: frozenset[int]
    precisions: range
    decode: Callable[[bytes, CodeStream], Words]
    start: Callable[[bytes], bytes] = bytes


def _by_jpeg(frame: bytes, header: CodeStream) -> Words:
    """JPEG Baseline, Extended and Lossless, by libjpeg-turbo; of several components as they are coded, not as RGB."""
    if header.components == 1:
        return np.asarray(jpeg8_decode(frame, out=_container(header)))
    coded = "YCBCR"  # whatever they are: the same space in and out is no conversion
    return np.asarray(jpeg8_decode(frame, colorspace=coded, outcolorspace=coded, out=_container(header)))


def _by_charls(frame: bytes, header: CodeStream) -> Words:
    return np.asarray(jpegls_decode(frame, out=_container(header)))


def _by_openjpeg(frame: bytes, header: CodeStream) -> Words:
    """JPEG 2000 and High-Throughput JPEG 2000; signed samples are given as the words that they lie in."""
    samples = np.asarray(jpeg2k_decode(frame, numthreads=1))
    return samples.view(f"u{samples.itemsize}")


def _by_packbits(frame: bytes, header: CodeStream) -> Words:
    """RLE (PS3.5 annex G): a table of offsets, then a segment for each byte of a word, the highest first."""
    planes = header.precision // 8
    planes *= header.components
    table = struct.unpack_from("<16I", frame.ljust(64, b"\0"))
    offsets = [*table[1 : planes + 1], len(frame)]
    if table[0] != planes or offsets[0] != 64 or offsets != sorted(offsets):
        raise MalformedImage(
            f"PixelData (7FE0,0010) has no table of {planes} RLE segments, which {header.precision} bits allocated need; "
            "send the whole instance again"
        )
    words = np.zeros((header.rows * header.columns, planes), np.uint8)
    for plane in range(planes):
        segment = packbits_decode(frame[offsets[plane] : offsets[plane + 1]], out=len(words))
        if len(segment) != len(words):
            raise MalformedImage(
                "PixelData (7FE0,0010) is cut short: an RLE segment ends early; send the whole instance again"
            )
        words[:, plane] = np.frombuffer(segment, np.uint8)
    if header.components > 1:
        return words.reshape(header.rows, header.columns, header.components)
    return words.view(">u2" if planes == 2 else np.uint8).reshape(header.rows, header.columns)


def _container(header: CodeStream) -> Words:
    """Memory for a frame, by the header that was checked: a stream that says another size later on is an error."""
    shape = (header.rows, header.columns, header.components)
    return np.zeros(shape if header.components > 1 else shape[:2], np.uint8 if header.precision <= 8 else np.uint16)


_JPEG_LOSSLESS: Final = Codec(read_jpeg_header, frozenset({LOSSLESS}), range(8, 17), _by_jpeg, start_of_jpeg)
_JPEG_LS: Final = Codec(read_jpeg_header, frozenset({JPEG_LS}), range(8, 17), _by_charls, start_of_jpeg)
_JPEG_2000: Final = Codec(read_jpeg2000_header, frozenset({JPEG_2000}), range(8, 17), _by_openjpeg, start_of_jpeg2000)

CODECS: Final[Mapping[UID, Codec]] = MappingProxyType(
    {
        RLELossless: Codec(None, frozenset(), range(8, 17, 8), _by_packbits),
        JPEGBaseline8Bit: Codec(read_jpeg_header, frozenset({BASELINE}), range(8, 9), _by_jpeg, start_of_jpeg),
        JPEGExtended12Bit: Codec(
            read_jpeg_header, frozenset({BASELINE, EXTENDED}), range(8, 13, 4), _by_jpeg, start_of_jpeg
        ),
        JPEGLossless: _JPEG_LOSSLESS,
        JPEGLosslessSV1: _JPEG_LOSSLESS,
        JPEGLSLossless: _JPEG_LS,
        JPEGLSNearLossless: _JPEG_LS,
        JPEG2000Lossless: _JPEG_2000,
        JPEG2000: _JPEG_2000,
        HTJ2KLossless: _JPEG_2000,
        HTJ2KLosslessRPCL: _JPEG_2000,
        HTJ2K: _JPEG_2000,
    }
)
