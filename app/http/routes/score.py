"""``POST /v1/score``: 14 probabilities, or "rejected as adversarial"."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import FastAPI, Query, Request, Security
from fastapi.responses import JSONResponse
from starlette.responses import Response

from app.engine import Place
from app.pipeline import LABELS
from app.pipeline.image import SourceKind

from ..openapi import BINARY, problems
from ..problems import OF_JUDGED_FILMS, REJECTED_DETAIL, HttpError, problem_response
from ..schemas import Accepted, CalledFinding, JudgedField
from ..security import require, sharer
from ..services import Services
from ..wire.accept import DICOM, takes_json, wants_dicom
from ..wire.body import read_film
from ..wire.media import FILM_BODY
from ..wire.query import FindingName
from .explain import AcceptedWithHeatmap, given_heatmap

PATH: Final = "/v1/score"


def add_score_route(application: FastAPI) -> None:
    """Add ``POST /v1/score``."""

    @application.post(
        PATH,
        tags=["films"],
        response_model=AcceptedWithHeatmap | Accepted,
        responses={
            200: {"content": {DICOM: BINARY}},
            **problems(*OF_JUDGED_FILMS, "not-acceptable", also={422: {DICOM: BINARY}}),
        },
        openapi_extra={"requestBody": FILM_BODY},
        dependencies=[Security(require, scopes=["score"])],
    )
    async def score(
        request: Request,
        heatmap: Annotated[
            FindingName | None, Query(description="the answer then has this finding's heatmap too")
        ] = None,
    ) -> Response:
        """Judge one frontal chest film: 14 probabilities, or 422 "rejected as adversarial".

        A caller that accepts application/dicom gets the result of a DICOM film as a structured report, of both verdicts. With
        `heatmap` the JSON says too where the evidence for that finding lies, as /v1/explain does.
        """
        screening, settings = Services.of(request).screening, Services.of(request).settings
        caller = request.state.caller
        accept = ",".join(request.headers.getlist("accept"))
        row = None if heatmap is None else LABELS.index(heatmap)
        as_report = wants_dicom(accept) and row is None
        if row is not None and not takes_json(accept):
            raise HttpError(
                "not-acceptable",
                "heatmap is for answers in JSON, and Accept asks for application/dicom; accept application/json, or ask "
                "/v1/explain for the heatmap as a Secondary Capture",
            )
        film = b""

        async def read(place: Place) -> tuple[bytes, SourceKind]:
            nonlocal film
            film, kind = await read_film(request, settings.max_body_bytes, place)
            request.state.source_kind = kind
            if kind != "dicom" and wants_dicom(accept) and not takes_json(accept):
                raise HttpError(
                    "not-acceptable",
                    "Accept asks for application/dicom, and a report can be made of a DICOM film only; send the film as "
                    "DICOM, or accept application/json",
                )
            return film, kind

        look = partial(screening.guard.see, caller, request.state.request_id)
        screened = await screening.engine.screen(sharer(request), read, row, look)
        verdict, kind = screened.verdict, screened.image.source_kind
        screening.metrics.count_judged(verdict, screened.version.bundle, kind)
        await screening.decisions.keep(request, film, screened)
        report = await screening.reports.of(film, screened, wanted=as_report)
        if report is not None:
            return Response(report, status_code=200 if verdict.accepted else 422, media_type=DICOM)
        if verdict.probabilities is None:
            return problem_response(request, "rejected-as-adversarial", REJECTED_DETAIL)
        body = Accepted(
            request_id=request.state.request_id,
            model_version=screened.version.name,
            probabilities={name: float(value) for name, value in zip(LABELS, verdict.probabilities, strict=True)},
            calls=CalledFinding.by_name(screened.version.bundle.calls.of(verdict.probabilities)),
            source_kind=kind,
            exposed_field=JudgedField.of(screened.image.field),
            notes=list(screened.image.notes),
        )
        if row is None:
            return JSONResponse(body.model_dump())
        assert screened.heatmap is not None
        screening.metrics.count_heatmap(screened.heatmap.localised, screened.version.name)
        given = await given_heatmap(screened, LABELS[row])
        return JSONResponse({**body.model_dump(), "heatmap": given.model_dump()})
