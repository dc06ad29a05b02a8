"""Heatmaps: ``POST /v1/explain`` gives one alone, and ``POST /v1/score?heatmap=FINDING`` one with the score."""

from __future__ import annotations

import base64
from functools import partial
from typing import Final

from fastapi import FastAPI, Request, Security
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.engine import Place, Screened
from app.pipeline import LABELS
from app.pipeline.image import SourceKind
from app.results import overlay_png

from ..openapi import binary, problems
from ..problems import OF_JUDGED_FILMS, REJECTED_DETAIL, HttpError, problem_response
from ..schemas import Accepted
from ..security import require, sharer
from ..services import Services
from ..wire.accept import DICOM, accepts, wants_dicom
from ..wire.body import read_film
from ..wire.media import FILM_BODY
from ..wire.query import FindingName

PATH: Final = "/v1/explain"
#: Of an answer that is a picture: ``true`` or ``false``.
LOCALISED: Final = "X-Heatmap-Localised"
_HEADERS: Final = {
    LOCALISED: {
        "description": "whether some place stands out",
        "required": True,
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
}


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
    """The heatmap of an accepted film, as JSON has it."""
    assert screened.heatmap is not None
    picture = await run_in_threadpool(overlay_png, screened.heatmap, screened.image.field)
    localised = screened.heatmap.localised
    text = (
        f"the film speaks for {finding} where the picture is warm; that is what the network looked at, and no diagnosis"
        if localised
        else f"no place of the film stands out for {finding}, so the picture is clear; this does not rule the finding out"
    )
    return GivenHeatmap(finding=finding, localised=localised, text=text, png=base64.b64encode(picture).decode())


def add_explain_route(application: FastAPI) -> None:
    """Add ``POST /v1/explain``."""

    @application.post(
        PATH,
        tags=["films"],
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
        screening, settings = Services.of(request).screening, Services.of(request).settings
        caller, row = request.state.caller, LABELS.index(finding)
        accept = ",".join(request.headers.getlist("accept"))
        as_dicom = wants_dicom(accept)
        if not as_dicom and not accepts(accept, "image/png"):
            raise HttpError("not-acceptable", "the heatmap is image/png or application/dicom; name one in Accept")
        film = b""

        async def read(place: Place) -> tuple[bytes, SourceKind]:
            nonlocal film
            film, kind = await read_film(request, settings.max_body_bytes, place)
            request.state.source_kind = kind
            if as_dicom and kind != "dicom":
                raise HttpError(
                    "not-acceptable",
                    "Accept asks for application/dicom, and a Secondary Capture can be made of a DICOM film only; send the "
                    "film as DICOM, or accept image/png",
                )
            return film, kind

        look = partial(screening.guard.see, caller, request.state.request_id)
        screened = await screening.engine.screen(sharer(request), read, row, look, compared=False)
        bundle, kind = screened.version.bundle, screened.image.source_kind
        if screened.heatmap is None:
            screening.metrics.count_judged(screened.verdict, bundle, kind)
            await screening.decisions.keep(request, film, screened)
            return problem_response(request, "rejected-as-adversarial", REJECTED_DETAIL)
        kept = await screening.decisions.keep(request, film, screened, explains=True)
        if not kept.from_record:
            screening.metrics.count_judged(screened.verdict, bundle, kind)
        screening.metrics.count_heatmap(screened.heatmap.localised, screened.version.name)
        headers = {LOCALISED: "true" if screened.heatmap.localised else "false"}
        if as_dicom:
            capture = await run_in_threadpool(screening.reports.heatmap_of, film, screened, LABELS[row])
            return Response(capture, media_type=DICOM, headers=headers)
        picture = await run_in_threadpool(overlay_png, screened.heatmap, screened.image.field)
        return Response(picture, media_type="image/png", headers=headers)
