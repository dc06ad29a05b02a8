"""``GET /v1/decisions``: what was decided, for operators; without scores, which are an oracle."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.records import FILTERS, Record

from ..problems import MEDIA_TYPE, HttpError
from ..schemas import ProblemBody
from ..security import KEY, Access

MOST_DECISIONS: Final = 500
DEFAULT_DECISIONS: Final = 100
_MOST_CHARACTERS: Final = 255
_CHOICES: Final = {"verdict": ("accepted", "rejected"), "source_kind": ("png", "jpeg", "dicom")}
_PROBLEM: Final[dict[str, Any]] = {"content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}}}


class DecisionSummary(BaseModel):
    """One decision of the record."""

    entry: int = Field(description="its number in the record")
    time: str = Field(description="UTC")
    request_id: str
    verdict: Literal["accepted", "rejected"]
    model_version: str
    source_kind: Literal["png", "jpeg", "dicom"] | None
    route: str | None
    caller: str | None
    seconds: float | None = Field(description="from the film's arrival to the entry")
    film: str | None = Field(description="the film's id in quarantine, where it was kept")
    repeated: bool = Field(description="answered from an earlier entry")
    intact: bool = Field(description="false: the entry was changed; run cxr-gate verify-record")


class DecisionPage(BaseModel):
    """Decisions, newest first."""

    decisions: list[DecisionSummary]
    next: int | None = Field(description="`before` of the next page; null where there is none")


def add_decided_route(application: FastAPI, access: Access, record: Record) -> None:
    """Add ``GET /v1/decisions``."""

    @application.get(
        "/v1/decisions",
        response_model=DecisionPage,
        dependencies=[KEY],
        responses={
            400: {**_PROBLEM, "description": "malformed request"},
            401: {**_PROBLEM, "description": "unauthenticated"},
            403: {**_PROBLEM, "description": "forbidden"},
            429: {**_PROBLEM, "description": "quota"},
            503: {**_PROBLEM, "description": "the record is not available"},
        },
        openapi_extra={
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in _SCHEMAS.items()
            ]
        },
    )
    async def decisions(request: Request) -> JSONResponse:
        """Decisions, newest first."""
        access.require(request, "operate")
        query = request.query_params
        filters = {name: query[name] for name in FILTERS if name in query}
        for name, value in filters.items():
            if name in _CHOICES and value not in _CHOICES[name]:
                raise HttpError(
                    "malformed-request", f"the query parameter {name} must be one of {', '.join(_CHOICES[name])}"
                )
            if not value.isprintable() or len(value) > _MOST_CHARACTERS:
                raise HttpError("malformed-request", f"the query parameter {name} is no name")
        before = _number(query.get("before"), "before", 2**63 - 1)
        limit = _number(query.get("limit"), "limit", MOST_DECISIONS) or DEFAULT_DECISIONS
        found = await run_in_threadpool(record.decided, filters, before, limit)
        page = DecisionPage(
            decisions=[DecisionSummary(**asdict(each)) for each in found],
            next=found[-1].entry if len(found) == limit else None,
        )
        return JSONResponse(page.model_dump(), headers={"Cache-Control": "no-store"})


def _number(text: str | None, name: str, most: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,19}", text) or not 1 <= int(text) <= most:
        raise HttpError("malformed-request", f"the query parameter {name} must be a number from 1 to {most}")
    return int(text)


_SCHEMAS: Final[dict[str, dict[str, object]]] = {
    "verdict": {"type": "string", "enum": list(_CHOICES["verdict"])},
    "source_kind": {"type": "string", "enum": list(_CHOICES["source_kind"])},
    "model_version": {"type": "string", "maxLength": _MOST_CHARACTERS},
    "caller": {"type": "string", "maxLength": _MOST_CHARACTERS},
    "before": {"type": "integer", "minimum": 1},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_DECISIONS},
}
