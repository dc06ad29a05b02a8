"""``POST /v1/score``: a probability of each finding, or "rejected as adversarial"."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Security
from fastapi.responses import JSONResponse
from pydantic import WithJsonSchema
from starlette.responses import Response

from app.pipeline import LABELS

from ..idempotency import HEADER, PATTERN, key_of
from ..openapi import BINARY, problems
from ..problems import OF_JUDGED_FILMS, REJECTED_DETAIL, HttpError, problem_response
from ..schemas import Accepted
from ..security import require
from ..wire.accept import DICOM, takes_json, wants_dicom
from ..wire.media import FILM_BODY
from ..wire.query import FindingName
from .explain import AcceptedWithHeatmap, given_heatmap
from .posting import screen_posted

PATH: Final = "/v1/score"
_NEEDS_DICOM: Final = (
    "Accept asks for application/dicom, and a report can be made of a DICOM film only; send the film as DICOM, or accept "
    "application/json"
)

router = APIRouter(tags=["films"])


@router.post(
    PATH,
    response_model=AcceptedWithHeatmap | Accepted,
    responses={
        200: {"description": "The gate accepted the film.", "content": {DICOM: BINARY}},
        **problems(*OF_JUDGED_FILMS, "not-acceptable", "idempotency-key-reused", also={422: {DICOM: BINARY}}),
    },
    openapi_extra={"requestBody": FILM_BODY},
    dependencies=[Security(require, scopes=["score"])],
)
async def score(
    request: Request,
    heatmap: Annotated[FindingName | None, Query(description="The answer then has this finding's heatmap too.")] = None,
    _: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$"}),  # key_of refuses anything else
        Header(
            alias=HEADER,
            description="Names one film of the caller's: with the same key the same film has the same decision, and another film "
            "is refused. Not with heatmap.",
        ),
    ] = None,
) -> Response:
    """Judge one frontal chest film: a probability of each finding, or 422 "rejected as adversarial".

    A caller that accepts application/dicom gets the result of a DICOM film as a structured report, of both verdicts. With
    `heatmap` the JSON says too where the evidence for that finding lies, as /v1/explain does.
    """
    accept = ",".join(request.headers.getlist("accept"))
    if heatmap is not None and not takes_json(accept):
        raise HttpError(
            "not-acceptable",
            "heatmap is for answers in JSON, and Accept asks for application/dicom; accept application/json, or ask "
            "/v1/explain for the heatmap as a Secondary Capture",
        )
    key = key_of(request)
    if key is not None and heatmap is not None:
        raise HttpError(
            "malformed-request",
            f"{HEADER} and heatmap do not go together: a heatmap is made anew; leave one out, or ask /v1/explain for the heatmap",
        )
    screened = await screen_posted(
        request,
        unless_dicom=_NEEDS_DICOM if wants_dicom(accept) and not takes_json(accept) else None,
        heatmap=None if heatmap is None else LABELS.index(heatmap),
        report=wants_dicom(accept) and heatmap is None,
        key=key,
    )
    verdict = screened.verdict
    if screened.report is not None:
        return Response(screened.report, status_code=200 if verdict.accepted else 422, media_type=DICOM)
    if verdict.probabilities is None:
        film = screened.recalled.film
        # The film of a retry is kept under the id of the first request.
        where = {"Link": f'</v1/results/{film}>; rel="related"'} if key and film else None
        return problem_response(request, "rejected-as-adversarial", REJECTED_DETAIL, where)
    answer = (request.state.request_id, screened.version, screened.image, verdict.probabilities)
    if heatmap is None:
        return JSONResponse(Accepted.of(*answer).model_dump())
    return JSONResponse(AcceptedWithHeatmap.of(*answer, heatmap=await given_heatmap(screened, heatmap)).model_dump())
