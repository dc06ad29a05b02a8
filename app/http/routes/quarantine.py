"""``/v1/quarantine``: rejected films, for reviewers: list, look at, release or confirm."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from annotated_types import Interval
from fastapi import APIRouter, Depends, Path, Query, Request, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.pipeline import film_tensor
from app.quarantine import Quarantine
from app.quarantine.pictures import film_png, residual_png
from app.records import FilmEvent, KeptFilm

from ..exposed_field import described_header, field_header
from ..openapi import binary, problems, schema_of
from ..problems import OF_FILMS, HttpError
from ..schemas import EXAMPLE_REQUEST, KeptFilmDetails, KeptFilmPage, KeptFilmSummary, Reason
from ..security import require, sharer
from ..services import Services
from ..wire.accept import accepts
from ..wire.body import Unheld, limited, require_declared_length
from ..wire.media import TYPE_OF
from ..wire.query import DIGITS, Truth

MOST_FILMS: Final = 500
DEFAULT_FILMS: Final = 100
_MAX_REASON_BYTES: Final = 16 * 1024
#: Films show patients, so no cache on the way may keep them.
_NO_STORE: Final = {"Cache-Control": "no-store"}
_OF_PICTURES: Final = (*OF_FILMS, "not-found", "not-acceptable", "film-unreadable", "record-unavailable")
_OF_DECISIONS: Final = ("not-found", "already-decided", "body-too-large", "deadline-passed", "record-unavailable")
_REASON_BODY: Final = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(Reason)}}}
}


async def _quarantine(request: Request) -> Quarantine:
    quarantine = Services.of(request).quarantine
    if quarantine is None:
        raise HttpError("not-found", "rejected films are not kept here: the operator has not set CXR_QUARANTINE_FOLDER")
    return quarantine


Kept = Annotated[Quarantine, Depends(_quarantine)]
FilmId = Annotated[
    str,
    Path(
        description="The request_id of its rejection; of a stored instance, with its number.",
        examples=[EXAMPLE_REQUEST],
    ),
]
router = APIRouter(tags=["quarantine"], dependencies=[Security(require, scopes=["review"])])


@router.get("/v1/quarantine", response_model=KeptFilmPage, responses=problems("not-found", "record-unavailable"))
async def list_kept_films(
    kept: Kept,
    state: Literal["pending", "released", "confirmed"] | None = None,
    before: Annotated[str | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Interval(ge=1, le=MOST_FILMS), DIGITS] = DEFAULT_FILMS,
) -> JSONResponse:
    """Rejected films, newest first."""
    page = await kept.page(state, before, limit)
    films = [KeptFilmSummary.model_validate(film, from_attributes=True) for film, _ in page]
    return never_stored(KeptFilmPage(films=films, next=films[-1].id if len(films) == limit else None))


@router.get(
    "/v1/quarantine/{id}", response_model=KeptFilmDetails, responses=problems("not-found", "record-unavailable")
)
async def kept_film(request: Request, id: FilmId, kept: Kept) -> JSONResponse:
    """A film's score, and the decisions on it."""
    film = await kept.film(id)
    await kept.note(event(request, "viewed", film))
    return never_stored(_details(film))


@router.get(
    "/v1/quarantine/{id}/film",
    response_class=Response,
    responses={
        **binary("The film.", "image/png", *TYPE_OF.values(), headers=described_header(always=False)),
        **problems(*_OF_PICTURES),
    },
)
async def kept_film_picture(request: Request, id: FilmId, kept: Kept, original: Truth = False) -> Response:
    """The film as 8-bit PNG, as it was decoded; or as it was posted, by original=true or Accept."""
    film = await kept.film(id)
    its_type = TYPE_OF[film.source_kind]
    as_posted = original or _prefers(request, its_type)
    if not as_posted and not _accepted(request, "image/png"):
        raise HttpError("not-acceptable", f"the film is image/png or, as it was posted, {its_type}; name one in Accept")
    content = await kept.read(film)
    engine = Services.of(request).engine
    image = None if as_posted else await engine.look_at(sharer(request), content, film.source_kind)
    await kept.note(event(request, "viewed", film))
    if image is None:
        return Response(content, media_type=its_type, headers=_NO_STORE)
    headers = {**_NO_STORE, **field_header(image.field)}
    return Response(await run_in_threadpool(film_png, image.pixels), media_type="image/png", headers=headers)


@router.get(
    "/v1/quarantine/{id}/residual",
    response_class=Response,
    responses={**binary("The residual.", "image/png"), **problems(*_OF_PICTURES)},
)
async def kept_film_residual(request: Request, id: FilmId, kept: Kept) -> Response:
    """What the network gets less its 3x3 median, as PNG: mid-grey is no difference, black and white 1/16 of the range."""
    if not _accepted(request, "image/png"):
        raise HttpError("not-acceptable", "the residual is image/png; name it in Accept, or leave Accept out")
    film = await kept.film(id)
    image = await Services.of(request).engine.look_at(sharer(request), await kept.read(film), film.source_kind)
    await kept.note(event(request, "viewed", film))
    picture = await run_in_threadpool(lambda: residual_png(film_tensor(image)))
    return Response(picture, media_type="image/png", headers=_NO_STORE)


@router.post(
    "/v1/quarantine/{id}/release",
    response_model=KeptFilmDetails,
    responses=problems(*_OF_DECISIONS),
    openapi_extra=_REASON_BODY,
)
async def release_film(request: Request, id: FilmId, kept: Kept) -> JSONResponse:
    """Say that a film is clean, and why. Its sender may then have its probabilities."""
    return await _decided(request, id, kept, "released")


@router.post(
    "/v1/quarantine/{id}/confirm",
    response_model=KeptFilmDetails,
    responses=problems(*_OF_DECISIONS),
    openapi_extra=_REASON_BODY,
)
async def confirm_film(request: Request, id: FilmId, kept: Kept) -> JSONResponse:
    """Say that a film is bad, and why."""
    return await _decided(request, id, kept, "confirmed")


async def _decided(request: Request, id: str, kept: Quarantine, kind: Literal["released", "confirmed"]) -> JSONResponse:
    async with Services.of(request).engine.deadline():
        reason = await _reason(request)
    film = await kept.film(id)
    return never_stored(_details(await kept.decide(event(request, kind, film, reason=reason))))


async def _reason(request: Request) -> str:
    require_declared_length(request, _MAX_REASON_BYTES)
    body = bytearray()
    async for chunk in limited(request, _MAX_REASON_BYTES, Unheld()):
        body += chunk
    try:
        reason = " ".join(Reason.model_validate_json(bytes(body)).reason.split())
        if reason.isprintable():
            return Reason(reason=reason).reason
    except ValidationError:
        pass  # the text of this error repeats the body
    raise HttpError(
        "malformed-request", 'the body must be {"reason": "..."} in JSON, with a reason of 3 to 500 characters'
    )


def event(request: Request, kind: Any, film: KeptFilm, **more: Any) -> FilmEvent:
    """The record's event of a request that did something with a film."""
    state = request.state
    named = {"caller_request_id": state.caller_request_id or None, **more}
    return FilmEvent(kind, film.id, state.caller, state.request_id, request.scope["route"].path, **named)


def never_stored(body: BaseModel) -> JSONResponse:
    """A body as JSON that no cache keeps."""
    return JSONResponse(body.model_dump(), headers=_NO_STORE)


def _accepted(request: Request, media_type: str) -> bool:
    return accepts(",".join(request.headers.getlist("accept")), media_type)


def _prefers(request: Request, media_type: str) -> bool:
    """Whether Accept names this type and does not take PNG; a range such as ``*/*`` takes PNG."""
    return media_type != "image/png" and _accepted(request, media_type) and not _accepted(request, "image/png")


def _details(film: KeptFilm) -> KeptFilmDetails:
    return KeptFilmDetails.model_validate(film, from_attributes=True)
