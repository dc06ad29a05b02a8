"""Bytes -> DecodedImage. The format is the declared one, or that of the signature; a file name never counts."""

from __future__ import annotations

from typing import Final

from .dicom import decode_dicom
from .dicom.rules import DEFAULT_RULES, HeaderRules
from .errors import MalformedImage
from .image import DEFAULT_MAX_PIXELS, DecodedImage, SourceKind
from .raster import decode_raster

#: Format -> where its signature begins, and the signature. The preamble of a DICOM file may hold anything (PS3.10 section 7.1).
_SIGNATURES: Final[dict[SourceKind, tuple[int, bytes]]] = {
    "png": (0, b"\x89PNG\r\n\x1a\n"),
    "jpeg": (0, b"\xff\xd8\xff"),
    "dicom": (128, b"DICM"),
}


def has_signature(data: bytes, kind: SourceKind) -> bool:
    """Whether the bytes can be of this format; a file can have the signatures of two."""
    start, signature = _SIGNATURES[kind]
    return data.startswith(signature, start)


def sniff(data: bytes) -> SourceKind:
    """Find the format by its signature.

    Raises
    ------
    MalformedImage
        No bytes at all, or neither PNG, JPEG nor DICOM Part 10, or two of them at once.
    """
    if not data:
        raise MalformedImage("the body is empty; send the bytes of a PNG, JPEG or DICOM file")
    kinds = [kind for kind in _SIGNATURES if has_signature(data, kind)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise MalformedImage(
            f"the bytes are {' and '.join(kind.upper() for kind in kinds)} at once, and may hold two films; "
            "declare the format by Content-Type, or send a file of one format"
        )
    if len(data) < 132:
        raise MalformedImage(
            f"the bytes are neither PNG, JPEG nor DICOM, or are cut short: {len(data)} bytes are fewer than any "
            "such film has; send the whole file"
        )
    raise MalformedImage(
        "the bytes are neither PNG, JPEG nor DICOM (no known signature; a DICOM file has 'DICM' after "
        "128 bytes of preamble); send one of these three"
    )


def decode(
    data: bytes,
    *,
    kind: SourceKind | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    rules: HeaderRules = DEFAULT_RULES,
) -> DecodedImage:
    """Decode a film.

    Parameters
    ----------
    data : bytes
        A whole PNG, JPEG or DICOM Part 10 file.
    kind : SourceKind, optional
        The format that the sender declared; no other is tried. None: the signature decides.
    max_pixels : int
        Limit on rows x columns, checked before anything is decompressed.
    rules : HeaderRules
        A site's rules for DICOM headers.

    Raises
    ------
    MalformedImage, UnsuitableImage, UnsupportedMedia, ImageTooLarge
    """
    if kind is None:
        kind = sniff(data)
    elif not has_signature(data, kind):
        raise MalformedImage(
            f"the bytes are not {kind.upper()}, as they were declared to be; declare their real format"
        )
    if kind == "dicom":
        return decode_dicom(data, max_pixels, rules)
    return decode_raster(data, kind, max_pixels)
