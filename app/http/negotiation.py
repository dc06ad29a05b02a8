"""What form of answer a caller asks for (RFC 9110 section 12.5.1): JSON, or the result as a DICOM instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

DICOM: Final = "application/dicom"
_JSON_RANGES: Final = ("application/json", "application/*", "*/*")  # from the most specific to the least
#: Explicit VR Little Endian, PS3.18's default for an instance, and "any".
_TRANSFER_SYNTAXES: Final = {"1.2.840.10008.1.2.1", "*"}


def wants_dicom(accept: str) -> bool:
    """Whether DICOM is named and is liked no less than JSON; a range such as ``*/*`` does not name it."""
    qualities = dict(_qualities(accept))
    dicom = qualities.get(DICOM, 0.0)
    return dicom > 0 and dicom >= _of_json(qualities)


def takes_json(accept: str) -> bool:
    """Whether JSON will do as well; a caller who names neither gets it too."""
    qualities = dict(_qualities(accept))
    return _of_json(qualities) > 0 or not qualities.get(DICOM)


def _of_json(qualities: dict[str, float]) -> float:
    return next((qualities[name] for name in _JSON_RANGES if name in qualities), 0.0)


def _qualities(accept: str) -> Iterator[tuple[str, float]]:
    """Media ranges and their q. A range that cannot be met as its parameters ask is left out, and so is what is no range."""
    for part in accept.split(","):
        name, *written = (piece.strip() for piece in part.split(";"))
        parameters = dict(_parameter(piece) for piece in written if "=" in piece)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            continue
        syntax_is_met = parameters.get("transfer-syntax", "*") in _TRANSFER_SYNTAXES
        if name and 0 <= quality <= 1 and (name.lower() != DICOM or syntax_is_met):
            yield name.lower(), quality


def _parameter(piece: str) -> tuple[str, str]:
    name, _, value = piece.partition("=")
    return name.strip().lower(), value.strip().strip('"')
