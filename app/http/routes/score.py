"""``POST /v1/score``: a probability of each finding, or "rejected as adversarial"."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from app.pipeline import LABELS
from app.screening import Screening
from app.settings import Settings

from ..openapi import BINARY, PROBLEM, film_problems
from ..problems import REJECTED_DETAIL, HttpError, problem_response
from ..schemas import Accepted, CalledFinding, JudgedField
from ..security import KEY, Access
from ..wire.accept import DICOM, takes_json, wants_dicom
from ..wire.media import FILM_BODY
from .explain import HEATMAP_PARAMETER, AcceptedWithHeatmap, given_heatmap, named_finding
from .posting import screen_posted

_NEEDS_DICOM: Final = (
    "Accept asks for application/dicom, and a report can be made of a DICOM film only; send the film as DICOM, or accept "
    "application/json"
)


def add_score_route(application: FastAPI, access: Access, screening: Screening, settings: Settings) -> None:
    """Add ``POST /v1/score``."""

    @application.post(
        "/v1/score",
        dependencies=[KEY],
        response_model=AcceptedWithHeatmap | Accepted,
        responses=_score_responses(),
        openapi_extra={"parameters": [HEATMAP_PARAMETER], "requestBody": FILM_BODY},
    )
    async def score(request: Request) -> Response:
        """Judge one frontal chest film: a probability of each finding, or 422 "rejected as adversarial".

        A caller that accepts application/dicom gets the result of a DICOM film as a structured report, of both verdicts. With
        `heatmap` the JSON says too where the evidence for that finding lies, as /v1/explain does.
        """
        access.require(request, "score")
        accept = ",".join(request.headers.getlist("accept"))
        row = named_finding(request, "heatmap") if "heatmap" in request.query_params else None
        if row is not None and not takes_json(accept):
            raise HttpError(
                "not-acceptable",
                "heatmap is for answers in JSON, and Accept asks for application/dicom; accept application/json, or ask "
                "/v1/explain for the heatmap as a Secondary Capture",
            )
        screened = await screen_posted(
            request,
            screening,
            settings.max_body_bytes,
            unless_dicom=_NEEDS_DICOM if wants_dicom(accept) and not takes_json(accept) else None,
            heatmap=row,
            report=wants_dicom(accept) and row is None,
        )
        verdict = screened.verdict
        if screened.report is not None:
            return Response(screened.report, status_code=200 if verdict.accepted else 422, media_type=DICOM)
        if verdict.probabilities is None:
            return problem_response(request, "rejected-as-adversarial", REJECTED_DETAIL)
        body = Accepted(
            request_id=request.state.request_id,
            model_version=screened.version.name,
            probabilities={name: float(value) for name, value in zip(LABELS, verdict.probabilities, strict=True)},
            calls=CalledFinding.by_name(screened.version.bundle.calls.of(verdict.probabilities)),
            source_kind=screened.film.kind,
            exposed_field=JudgedField.of(screened.image.field),
            notes=list(screened.image.notes),
        )
        if row is None:
            return JSONResponse(body.model_dump())
        heatmap = await given_heatmap(screened, LABELS[row])
        return JSONResponse({**body.model_dump(), "heatmap": heatmap.model_dump()})


def _score_responses() -> dict[int | str, dict[str, Any]]:
    problems = film_problems()
    problems[422] = {**problems[422], "content": {**PROBLEM["content"], DICOM: BINARY}}
    return {200: {"content": {DICOM: BINARY}}, **problems}
