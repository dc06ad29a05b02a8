"""Bytes -> DecodedImage. The format is told by the content, never by a file name."""

from __future__ import annotations

from .dicom import decode_dicom
from .dicom.rules import DEFAULT_RULES, HeaderRules
from .errors import MalformedImage
from .image import DEFAULT_MAX_PIXELS, DecodedImage, SourceKind
from .raster import decode_raster


def sniff(data: bytes) -> SourceKind:
    """Tell the format by its signature.

    Raises
    ------
    MalformedImage
        No bytes at all, or neither PNG, JPEG nor DICOM Part 10.
    """
    if not data:
        raise MalformedImage("the body is empty; send the bytes of a PNG, JPEG or DICOM file")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[128:132] == b"DICM":  # PS3.10 section 7.1
        return "dicom"
    raise MalformedImage(
        "the bytes are neither PNG, JPEG nor DICOM (no known signature; a DICOM file has 'DICM' after "
        "128 bytes of preamble); send one of these three"
    )


def decode(
    data: bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    rules: HeaderRules = DEFAULT_RULES,
) -> DecodedImage:
    """Decode a film.

    Parameters
    ----------
    data : bytes
        A whole PNG, JPEG or DICOM Part 10 file.
    max_pixels : int
        Limit on rows x columns, checked before anything is decompressed.
    rules : HeaderRules
        What a site says of DICOM headers.

    Raises
    ------
    MalformedImage, UnsuitableImage, UnsupportedMedia, ImageTooLarge
    """
    kind = sniff(data)
    if kind == "dicom":
        return decode_dicom(data, max_pixels, rules)
    return decode_raster(data, kind, max_pixels)
