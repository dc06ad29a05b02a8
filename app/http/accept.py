"""Whether an Accept header allows an answer's media type (RFC 9110 section 12.5.1)."""

from __future__ import annotations

from python_multipart.multipart import parse_options_header


def accepts(header: str, media_type: str) -> bool:
    """Whether the most specific range that covers `media_type` has a quality over 0; an absent header allows all.

    Parameters
    ----------
    header : str
        Of several headers, joined by commas.
    media_type : str
        In lower case, without parameters.
    """
    if not header.strip():
        return True
    kind = media_type.partition("/")[0]
    allowed: dict[str, bool] = {}
    for element in header.split(","):
        name, parameters = parse_options_header(element)
        try:
            quality = float(parameters.get(b"q", b"1"))
        except ValueError:
            quality = 0.0
        named = name.decode("latin-1").strip()
        allowed[named] = allowed.get(named, False) or quality > 0
    for covering in (media_type, f"{kind}/*", "*/*"):
        if covering in allowed:
            return allowed[covering]
    return False
