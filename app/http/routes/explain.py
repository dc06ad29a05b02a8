"""Heatmaps: ``POST /v1/explain`` gives a heatmap alone, ``POST /v1/score?heatmap=FINDING`` gives one with the score."""

from __future__ import annotations

import base64
from typing import Final

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.pipeline import LABELS
from app.results import overlay_png
from app.screening import Screened

from ..openapi import binary, problems
from ..problems import OF_JUDGED_FILMS, REJECTED_DETAIL, HttpError, problem_response
from ..schemas import Accepted
from ..security import require
from ..services import Services
from ..wire.accept import DICOM, accepts, wants_dicom
from ..wire.media import FILM_BODY
from ..wire.query import FindingName
from .posting import screen_posted

PATH: Final = "/v1/explain"
#: A header of answers that are pictures: ``true`` or ``false``.
LOCALISED: Final = "X-Heatmap-Localised"
_HEADERS: Final = {
    LOCALISED: {
        "description": "whether some place stands out",
        "required": True,
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
}
_NEEDS_DICOM: Final = (
    "Accept asks for application/dicom, and a Secondary Capture can be made of a DICOM film only; send the film as DICOM, or "
    "accept image/png"
)

router = APIRouter(tags=["films"])


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


async def given_heatmap(screened: Screened, finding: str) -> GivenHeatmap:
    """The heatmap of an accepted film in the form of JSON."""
    assert screened.heatmap is not None
    picture = await run_in_threadpool(overlay_png, screened.heatmap, screened.image.field)
    localised = screened.heatmap.localised
    text = (
        f"the film speaks for {finding} where the picture is warm; it shows what the network looked at, and is no diagnosis"
        if localised
        else f"no place of the film stands out for {finding}, so the picture is clear; this does not rule the finding out"
    )
    return GivenHeatmap(finding=finding, localised=localised, text=text, png=base64.b64encode(picture).decode())


@router.post(
    PATH,
    response_class=Response,
    responses={
        **binary("The heatmap.", "image/png", DICOM, headers=_HEADERS),
        **problems(*OF_JUDGED_FILMS, "not-acceptable"),
    },
    openapi_extra={"requestBody": FILM_BODY},
    dependencies=[Security(require, scopes=["score"])],
)
async def explain(request: Request, finding: FindingName) -> Response:
    """Where in the film the evidence for a finding lies, behind the same gate.

    A PNG to lay over the film, transparent where nothing speaks for the finding; or, for a caller that accepts
    application/dicom, a Secondary Capture of both in the film's study. Where no place of the film stands out, the header
    X-Heatmap-Localised is false and the picture is clear. A film that was accepted before is not judged for the record
    and the metrics again; `POST /v1/score?heatmap=` gives score and heatmap in one answer.
    """
    accept = ",".join(request.headers.getlist("accept"))
    as_dicom = wants_dicom(accept)
    if not as_dicom and not accepts(accept, "image/png"):
        raise HttpError("not-acceptable", "the heatmap is image/png or application/dicom; name one in Accept")
    screened = await screen_posted(
        request,
        unless_dicom=_NEEDS_DICOM if as_dicom else None,
        heatmap=LABELS.index(finding),
        explains=True,
    )
    if screened.heatmap is None:
        return problem_response(request, "rejected-as-adversarial", REJECTED_DETAIL)
    headers = {LOCALISED: "true" if screened.heatmap.localised else "false"}
    if as_dicom:
        reports = Services.of(request).screening.reports
        capture = await run_in_threadpool(reports.heatmap_of, screened, finding)
        return Response(capture, media_type=DICOM, headers=headers)
    picture = await run_in_threadpool(overlay_png, screened.heatmap, screened.image.field)
    return Response(picture, media_type="image/png", headers=headers)
