"""The form of answer that a caller asks for (RFC 9110 section 12.5.1)."""

from __future__ import annotations

from typing import Final

from python_multipart.multipart import parse_options_header

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
_JSON: Final = "application/json"
#: Types of STOW's answer. Clients older than ``application/dicom+json`` ask for plain JSON or, as dcm4che and Weasis do, for XML.
STORE_TYPES: Final = (DICOM_JSON, _JSON, DICOM_XML)
#: Explicit VR Little Endian, which is PS3.18's default for an instance, and "any".
_TRANSFER_SYNTAXES: Final = {b"1.2.840.10008.1.2.1", b"*"}


def accepts(header: str, media_type: str) -> bool:
    """Whether the most specific range that covers `media_type` has a quality over 0; an absent header allows all.

    Parameters
    ----------
    header : str
        The header; several are joined by commas.
    media_type : str
        In lower case, without parameters.
    """
    return not header.strip() or _quality(_qualities(header), media_type) > 0


def store_type(header: str) -> str | None:
    """The type of ``STORE_TYPES`` with the highest quality, the first if several have it; None if none is accepted."""
    if not header.strip():
        return DICOM_JSON
    qualities = _qualities(header)
    best = max(STORE_TYPES, key=lambda media_type: _quality(qualities, media_type))
    return best if _quality(qualities, best) > 0 else None


def wants_dicom(header: str) -> bool:
    """Whether DICOM is named and has at least the quality of JSON; a range such as ``*/*`` does not name it."""
    qualities = _qualities(header)
    dicom = qualities.get(DICOM, 0.0)
    return dicom > 0 and dicom >= _quality(qualities, _JSON)


def takes_json(header: str) -> bool:
    """Whether JSON is accepted too; a caller who names neither JSON nor DICOM gets JSON."""
    qualities = _qualities(header)
    return _quality(qualities, _JSON) > 0 or not qualities.get(DICOM)


def _quality(qualities: dict[str, float], media_type: str) -> float:
    kind = media_type.partition("/")[0]
    return next((qualities[name] for name in (media_type, f"{kind}/*", "*/*") if name in qualities), 0.0)


def _qualities(header: str) -> dict[str, float]:
    """Media range -> q, without ranges whose parameters cannot be met, and without elements that are no ranges."""
    qualities: dict[str, float] = {}
    for element in header.split(","):
        name, parameters = parse_options_header(element)
        try:
            quality = float(parameters.get(b"q", b"1"))
        except ValueError:
            continue
        named = name.decode("latin-1").strip().lower()
        syntax_is_met = parameters.get(b"transfer-syntax", b"*") in _TRANSFER_SYNTAXES
        if named and 0 <= quality <= 1 and (named != DICOM or syntax_is_met):
            qualities[named] = max(quality, qualities.get(named, 0.0))
    return qualities
