"""The decoder of each compressed transfer syntax, and the code streams that the syntax may hold.

None falls back on another: one syntax, one decoder, and so one answer. Each takes a whole frame, whose header was
checked, and gives the words as they lie in the container.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import gdcm
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_jpeg2000
from PIL import Image
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
from rle.utils import decode_pixel_data as decode_rle

from ..errors import MalformedImage
from .codestream import BASELINE, EXTENDED, JPEG_LS, LOSSLESS, CodeStream, read_jpeg2000_header, read_jpeg_header

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
    """

    read_header: Callable[[bytes], CodeStream] | None
    processes: frozenset[int]
    precisions: range
    decode: Callable[[bytes, CodeStream, UID], Words]


def _by_pillow(frame: bytes, header: CodeStream, _: UID) -> Words:
    """JPEG of 8 bits, by libjpeg-turbo."""
    with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
        return np.asarray(image)


def _by_pillow_or_gdcm(frame: bytes, header: CodeStream, syntax: UID) -> Words:
    """JPEG Extended: libjpeg-turbo as Pillow has it reads 8 bits, GDCM's own libjpeg 12."""
    return (_by_pillow if header.precision == 8 else _by_gdcm)(frame, header, syntax)


def _by_gdcm(frame: bytes, header: CodeStream, syntax: UID) -> Words:
    """JPEG Extended of 12 bits, JPEG Lossless and JPEG-LS."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    container = 8 if header.precision <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(1, container, header.precision, header.precision - 1, 0))
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")  # SWIG gives char* as text
    return np.frombuffer(buffer, "u1" if container == 8 else "<u2").reshape(header.rows, header.columns)


def _by_openjpeg(frame: bytes, header: CodeStream, _: UID) -> Words:
    """JPEG 2000 and High-Throughput JPEG 2000; signed samples are given as the words that they lie in."""
    samples = decode_jpeg2000(frame, j2k_format=0)
    return np.asarray(samples).view(f"u{samples.itemsize}")


def _by_rle(frame: bytes, header: CodeStream, _: UID) -> Words:
    """RLE (PS3.5 annex G): one segment for each byte of a word, the highest first."""
    size = header.precision // 8
    segments = int.from_bytes(frame[:4], "little")
    if segments != size:
        raise MalformedImage(
            f"PixelData (7FE0,0010) has {segments} RLE segments, where {header.precision} bits allocated need {size}; "
            "send the whole instance again"
        )
    planar = decode_rle(frame, version=2, rows=header.rows, columns=header.columns, bits_allocated=header.precision)
    return np.frombuffer(planar, "u1" if size == 1 else "<u2").reshape(header.rows, header.columns)


def _jpeg(processes: set[int], precisions: range, decode: Callable[[bytes, CodeStream, UID], Words]) -> Codec:
    return Codec(read_jpeg_header, frozenset(processes), precisions, decode)


_JPEG_2000: Final = Codec(read_jpeg2000_header, frozenset({0}), range(8, 17), _by_openjpeg)

CODECS: Final[Mapping[UID, Codec]] = MappingProxyType(
    {
        RLELossless: Codec(None, frozenset(), range(8, 17, 8), _by_rle),
        JPEGBaseline8Bit: _jpeg({BASELINE}, range(8, 9), _by_pillow),
        JPEGExtended12Bit: _jpeg({BASELINE, EXTENDED}, range(8, 13, 4), _by_pillow_or_gdcm),
        JPEGLossless: _jpeg({LOSSLESS}, range(8, 17), _by_gdcm),
        JPEGLosslessSV1: _jpeg({LOSSLESS}, range(8, 17), _by_gdcm),
        JPEGLSLossless: _jpeg({JPEG_LS}, range(8, 17), _by_gdcm),
        JPEGLSNearLossless: _jpeg({JPEG_LS}, range(8, 17), _by_gdcm),
        JPEG2000Lossless: _JPEG_2000,
        JPEG2000: _JPEG_2000,
        HTJ2KLossless: _JPEG_2000,
        HTJ2KLosslessRPCL: _JPEG_2000,
        HTJ2K: _JPEG_2000,
    }
)
