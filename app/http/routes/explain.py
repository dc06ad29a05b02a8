"""Heatmaps: ``POST /v1/explain`` gives one alone, and ``POST /v1/score?heatmap=FINDING`` one with the score."""

from __future__ import annotations

import base64
from typing import Any, Final

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.pipeline import LABELS
from app.results import overlay_png
from app.screening import Screened, Screening
from app.settings import Settings

from ..openapi import BINARY, film_problems
from ..problems import REJECTED_DETAIL, HttpError, problem_response
from ..schemas import Accepted
from ..security import KEY, Access
from ..wire.accept import DICOM, accepts, wants_dicom
from ..wire.media import FILM_BODY
from .posting import screen_posted

#: A header of answers that are pictures: ``true`` or ``false``.
LOCALISED: Final = "X-Heatmap-Localised"
_FINDINGS: Final = {"type": "string", "enum": list(LABELS)}
#: Of ``/v1/score``, for OpenAPI.
HEATMAP_PARAMETER: Final[dict[str, Any]] = {
    "name": "heatmap",
    "in": "query",
    "required": False,
    "schema": _FINDINGS,
    "description": "a finding: the answer then has its heatmap too, as `heatmap`",
}
_NEEDS_DICOM: Final = (
    "Accept asks for application/dicom, and a Secondary Capture can be made of a DICOM film only; send the film as DICOM, or "
    "accept image/png"
)
_FINDING_PARAMETER: Final[dict[str, Any]] = {"name": "finding", "in": "query", "required": True, "schema": _FINDINGS}


class GivenHeatmap(BaseModel):
    """Where the film speaks for one finding."""

    finding: str
    localised: bool = Field(
        description="whether some place of the film stands out for the finding; where none does, the picture is clear"
    )
    text: str = Field(description="the same in words, for people")
    png: str = Field(
        description="base64 of the picture that /v1/explain gives: RGBA, of the film's shape, to be laid over it"
    )


class AcceptedWithHeatmap(Accepted):
    """200 of a request that named a finding in `heatmap`."""

    heatmap: GivenHeatmap


def named_finding(request: Request, parameter: str) -> int:
    """The row of the finding that a query parameter names.

    Raises
    ------
    HttpError
        It names none.
    """
    # Not a declared parameter: FastAPI would document 422 for it, and here that means one thing only.
    finding = request.query_params.get(parameter, "")
    if finding not in LABELS:
        raise HttpError("malformed-request", f"the query parameter {parameter} must be one of {', '.join(LABELS)}")
    return LABELS.index(finding)


async def given_heatmap(screened: Screened, finding: str) -> GivenHeatmap:
    """The heatmap of an accepted film, in the form for JSON."""
    assert screened.heatmap is not None
    picture = await run_in_threadpool(overlay_png, screened.heatmap, screened.image.field)
    localised = screened.heatmap.localised
    text = (
        f"the film speaks for {finding} where the picture is warm; it shows what the network looked at, and is no diagnosis"
        if localised
        else f"no place of the film stands out for {finding}, so the picture is clear; this does not rule the finding out"
    )
    return GivenHeatmap(finding=finding, localised=localised, text=text, png=base64.b64encode(picture).decode())


def add_explain_route(application: FastAPI, access: Access, screening: Screening, settings: Settings) -> None:
    """Add ``POST /v1/explain``."""

    @application.post(
        "/v1/explain",
        dependencies=[KEY],
        response_class=Response,
        responses=_responses(),
        openapi_extra={"parameters": [_FINDING_PARAMETER], "requestBody": FILM_BODY},
    )
    async def explain(request: Request) -> Response:
        """Where in the film the evidence for a finding lies, behind the same gate.

        A PNG to lay over the film, transparent where nothing speaks for the finding; or, for a caller that accepts
        application/dicom, a Secondary Capture of both in the film's study. Where no place of the film stands out, the header
        X-Heatmap-Localised is false and the picture is clear. A film that was accepted before is not judged for the record
        and the metrics again; `POST /v1/score?heatmap=` gives score and heatmap in one answer.
        """
        access.require(request, "score")
        row = named_finding(request, "finding")
        accept = ",".join(request.headers.getlist("accept"))
        as_dicom = wants_dicom(accept)
        if not as_dicom and not accepts(accept, "image/png"):
            raise HttpError("not-acceptable", "the heatmap is image/png or application/dicom; name one in Accept")
        screened = await screen_posted(
            request,
            screening,
            settings.max_body_bytes,
            unless_dicom=_NEEDS_DICOM if as_dicom else None,
            heatmap=row,
            explains=True,
        )
        if screened.heatmap is None:
            return problem_response(request, "rejected-as-adversarial", REJECTED_DETAIL)
        headers = {LOCALISED: "true" if screened.heatmap.localised else "false"}
        if as_dicom:
            capture = await run_in_threadpool(screening.reports.heatmap_of, screened, LABELS[row])
            return Response(capture, media_type=DICOM, headers=headers)
        picture = await run_in_threadpool(overlay_png, screened.heatmap, screened.image.field)
        return Response(picture, media_type="image/png", headers=headers)


def _responses() -> dict[int | str, dict[str, Any]]:
    said = {"schema": {"type": "string", "enum": ["true", "false"]}, "description": "whether some place stands out"}
    given = {
        "description": "The heatmap.",
        "content": {"image/png": BINARY, DICOM: BINARY},
        "headers": {LOCALISED: said},
    }
    return {200: given, **film_problems()}
