"""``GET /v1/decisions``: past decisions, for operators; without scores, which are an oracle."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final, Literal

from annotated_types import Interval, MaxLen
from fastapi import APIRouter, Query, Request, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.pipeline.image import SourceKind

from ..openapi import problems
from ..security import require
from ..services import Services
from ..wire.query import DIGITS, PRINTABLE

MOST_DECISIONS: Final = 500
DEFAULT_DECISIONS: Final = 100
Verdict = Literal["accepted", "rejected"]
_Name = Annotated[str, MaxLen(255), PRINTABLE]
_Entry = Annotated[int, Interval(ge=1, le=2**63 - 1), DIGITS]

router = APIRouter(tags=["decisions"])


class DecisionSummary(BaseModel):
    """One decision of the record."""

    entry: int = Field(description="its number in the record")
    time: str = Field(description="UTC")
    request_id: str
    verdict: Verdict
    model_version: str
    source_kind: SourceKind | None
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


@router.get(
    "/v1/decisions",
    response_model=DecisionPage,
    responses=problems("record-unavailable"),
    dependencies=[Security(require, scopes=["operate"])],
)
async def list_decisions(
    request: Request,
    verdict: Verdict | None = None,
    source_kind: SourceKind | None = None,
    model_version: _Name | None = None,
    caller: _Name | None = None,
    caller_request_id: Annotated[
        _Name | None, Query(description="what a caller sent as X-Request-ID; of several decisions, where it repeats")
    ] = None,
    before: Annotated[_Entry | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Interval(ge=1, le=MOST_DECISIONS), DIGITS] = DEFAULT_DECISIONS,
) -> JSONResponse:
    """Decisions, newest first."""
    wanted = {
        "verdict": verdict,
        "source_kind": source_kind,
        "model_version": model_version,
        "caller": caller,
        "caller_request_id": caller_request_id,
    }
    filters = {name: value for name, value in wanted.items() if value is not None}
    found = await run_in_threadpool(Services.of(request).record.decided, filters, before, limit)
    page = DecisionPage(
        decisions=[DecisionSummary(**asdict(each)) for each in found],
        next=found[-1].entry if len(found) == limit else None,
    )
    return JSONResponse(page.model_dump(), headers={"Cache-Control": "no-store"})
