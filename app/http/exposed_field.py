"""The exposed field in answers: in JSON, and in a header of answers that are pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from app.pipeline.exposed_field import ExposedField

from .schemas import JudgedField

HEADER: Final = "X-Exposed-Field"
#: Corners of all outlines together in a header: about 3 kB. Proxies take 4 to 8 kB for the whole head of an answer, and
#: a polygonal shutter may have a thousand corners.
MOST_CORNERS: Final = 160

_MEANING: Final = (
    "JSON of the part of the film that is judged, as `exposed_field` in an answer of /v1/score (JudgedField). An outline "
    "of very many corners is thinned here."
)


def field_header(field: ExposedField) -> dict[str, str]:
    """The header of an answer that is a film as it was decoded."""
    told = JudgedField.of(_thinned(field))
    return {HEADER: told.model_dump_json()}


def described_header(*, always: bool) -> dict[str, Any]:
    """The header as OpenAPI describes it."""
    schema = {"type": "string", "contentMediaType": "application/json"}
    return {HEADER: {"description": _MEANING, "required": always, "schema": schema}}


def _thinned(field: ExposedField) -> ExposedField:
    step = -(-sum(map(len, field.outlines)) // MOST_CORNERS)
    if step <= 1:
        return field
    return replace(field, outlines=tuple(each[::step] if len(each) > 2 * step else each for each in field.outlines))
