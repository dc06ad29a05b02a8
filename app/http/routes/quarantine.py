"""Rejected films, for reviewers: list, look at, release or confirm; and for senders, what was released."""

from __future__ import annotations

import logging
import re
from typing import Any, Final, Literal, get_args

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.engine import Engine
from app.pipeline import LABELS, DecodedImage, film_tensor
from app.quarantine import AlreadyDecided, FilmUnreadable, NoSuchFilm, Quarantine, is_film_id
from app.quarantine.pictures import film_png, residual_png
from app.records import FilmEvent, FilmState, KeptFilm

from ..exposed_field import described_header, field_header
from ..problems import MEDIA_TYPE, PROBLEMS, HttpError
from ..schemas import (
    CalledFinding,
    FilmHappening,
    JudgedField,
    KeptFilmDetails,
    KeptFilmPage,
    KeptFilmSummary,
    ProblemBody,
    Reason,
    Release,
    ReleasedResult,
)
from ..security import KEY, Access, sharer
from ..wire.accept import accepts
from ..wire.body import Unheld, limited, require_declared_length
from ..wire.media import TYPE_OF

log = logging.getLogger("cxr_gate")

MOST_FILMS: Final = 500
DEFAULT_FILMS: Final = 100
_MAX_REASON_BYTES: Final = 16 * 1024
_STATES: Final = tuple(state for state in get_args(FilmState) if state != "removed")
#: Films are of patients: no cache between keeps them.
_NO_STORE: Final = {"Cache-Control": "no-store"}


def _residual(image: DecodedImage) -> bytes:
    return residual_png(film_tensor(image))


def add_quarantine_routes(application: FastAPI, access: Access, quarantine: Quarantine | None, engine: Engine) -> None:
    """Add ``/v1/quarantine...`` and ``/v1/results/{id}``.

    Parameters
    ----------
    quarantine : Quarantine or None
        None: the routes say that there is none.
    """

    def reviewer(request: Request) -> Quarantine:
        access.require(request, "review")
        return _there(quarantine)

    @application.get("/v1/quarantine", **_described(KeptFilmPage, 404, parameters=("state", "before", "limit")))
    async def films(request: Request) -> Response:
        """Rejected films, newest first."""
        held = reviewer(request)
        query = request.query_params
        state, before, limit = query.get("state"), query.get("before"), query.get("limit", str(DEFAULT_FILMS))
        if state is not None and state not in _STATES:
            raise HttpError("malformed-request", f"the query parameter state must be one of {', '.join(_STATES)}")
        if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= MOST_FILMS:
            raise HttpError("malformed-request", f"the query parameter limit must be a number from 1 to {MOST_FILMS}")
        with _Problems(request):
            page = await held.page(state, before, int(limit))  # type: ignore[arg-type]  # one of _STATES
        films = [_summary(film) for film, _ in page]
        last = films[-1].id if len(films) == int(limit) else None
        return _json(KeptFilmPage(films=films, next=last))

    @application.get("/v1/quarantine/{id}", **_described(KeptFilmDetails, 404))
    async def details(request: Request) -> Response:
        """A film's score, and the decisions on it."""
        held = reviewer(request)
        with _Problems(request):
            film = await held.film(_film_id(request))
            await held.note(_event(request, "viewed", film))
            return _json(_details(film))

    @application.get(
        "/v1/quarantine/{id}/film",
        **_picture(
            "image/png", *TYPE_OF.values(), parameters=("id", "original"), headers=described_header(always=False)
        ),
    )
    async def picture(request: Request) -> Response:
        """The film as 8-bit PNG, as it was decoded; or as it was posted, by original=true or Accept."""
        held = reviewer(request)
        original = request.query_params.get("original", "false")
        if original not in {"true", "false"}:
            raise HttpError("malformed-request", "the query parameter original must be true or false")
        with _Problems(request):
            film = await held.film(_film_id(request))
            its_type = TYPE_OF[film.source_kind]
            as_posted = original == "true" or _prefers(request, its_type)
            if not as_posted and not _accepted(request, "image/png"):
                raise HttpError(
                    "not-acceptable", f"the film is image/png or, as it was posted, {its_type}; name one in Accept"
                )
            content = await held.read(film)
            image = None if as_posted else await engine.look_at(sharer(request), content, film.source_kind)
            await held.note(_event(request, "viewed", film))
        if image is None:
            return Response(content, media_type=its_type, headers=_NO_STORE)
        headers = {**_NO_STORE, **field_header(image.field)}
        return Response(await run_in_threadpool(film_png, image.pixels), media_type="image/png", headers=headers)

    @application.get("/v1/quarantine/{id}/residual", **_picture("image/png"))
    async def residual(request: Request) -> Response:
        """What the network gets less its 3x3 median, as PNG: mid-grey is no difference, black and white 1/16 of the range."""
        held = reviewer(request)
        if not _accepted(request, "image/png"):
            raise HttpError("not-acceptable", "the residual is image/png; name it in Accept, or leave Accept out")
        with _Problems(request):
            film = await held.film(_film_id(request))
            image = await engine.look_at(sharer(request), await held.read(film), film.source_kind)
            await held.note(_event(request, "viewed", film))
        return Response(
            await run_in_threadpool(lambda: residual_png(film_tensor(image))), media_type="image/png", headers=_NO_STORE
        )

    @application.post("/v1/quarantine/{id}/release", **_described(KeptFilmDetails, 404, 409, 413, 504, body=True))
    async def release(request: Request) -> Response:
        """Say that a film is clean, and why. Its sender may then have its probabilities."""
        return await decide(request, "released")

    @application.post("/v1/quarantine/{id}/confirm", **_described(KeptFilmDetails, 404, 409, 413, 504, body=True))
    async def confirm(request: Request) -> Response:
        """Say that a film is bad, and why."""
        return await decide(request, "confirmed")

    async def decide(request: Request, kind: Literal["released", "confirmed"]) -> Response:
        held = reviewer(request)
        async with engine.deadline():
            reason = await _reason(request)
        with _Problems(request):
            film = await held.film(_film_id(request))
            return _json(_details(await held.decide(_event(request, kind, film, reason=reason))))

    @application.get("/v1/results/{id}", **_described(ReleasedResult, 404, 409, 410, 500, 504))
    async def result(request: Request) -> Response:
        """What an accepted film is answered, of one that was rejected and that a reviewer released since."""
        caller = access.require(request, "score", "review")
        held = _there(quarantine)
        with _Problems(request):
            film = await held.film(_film_id(request))
            if caller not in film.callers and "review" not in request.state.scopes:
                raise NoSuchFilm  # not a word more to whom it is not
            return _json(await _released(request, held, film))

    async def _released(request: Request, held: Quarantine, film: KeptFilm) -> ReleasedResult:
        decision = film.decision
        if decision is None:
            raise HttpError("awaiting-review", PROBLEMS["awaiting-review"].meaning)
        if decision.kind != "released":
            raise HttpError("confirmed-as-bad", PROBLEMS["confirmed-as-bad"].meaning)
        version, image, probabilities = await engine.screen_released(
            sharer(request), await held.read(film), film.source_kind
        )
        calls = version.bundle.calls
        answered = {"model_version": version.name, "probabilities": probabilities, "calls": calls.words(probabilities)}
        await held.note(_event(request, "answered", film, **answered))
        return ReleasedResult(
            request_id=film.request_id,
            model_version=version.name,
            probabilities={name: float(value) for name, value in zip(LABELS, probabilities, strict=True)},
            calls=CalledFinding.by_name(calls.of(probabilities)),
            source_kind=image.source_kind,
            exposed_field=JudgedField.of(image.field),
            notes=list(image.notes),
            released=Release(by=decision.by, reason=decision.reason or "", time=decision.time),
        )


class _Problems:
    """The quarantine's errors -> problems."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, NoSuchFilm):
            raise HttpError(
                "not-found", "there is no film of this id here: there never was, or it was removed"
            ) from error
        if isinstance(error, AlreadyDecided):
            raise HttpError("already-decided", str(error)) from error
        if isinstance(error, FilmUnreadable):
            log.error(
                "a kept film is unreadable", extra={"request_id": self._request.state.request_id, "error": str(error)}
            )


def _there(quarantine: Quarantine | None) -> Quarantine:
    if quarantine is None:
        raise HttpError("not-found", "rejected films are not kept here: the operator has not set CXR_QUARANTINE_FOLDER")
    return quarantine


def _film_id(request: Request) -> str:
    film_id: str = request.path_params["id"]
    if not is_film_id(film_id):
        raise NoSuchFilm
    return film_id


def _event(request: Request, kind: Any, film: KeptFilm, **more: Any) -> FilmEvent:
    state = request.state
    return FilmEvent(kind, film.id, state.caller, state.request_id, request.scope["route"].path, **more)


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
        pass  # its text repeats the body
    raise HttpError(
        "malformed-request", 'the body must be {"reason": "..."} in JSON, with a reason of 3 to 500 characters'
    )


def _accepted(request: Request, media_type: str) -> bool:
    return accepts(",".join(request.headers.getlist("accept")), media_type)


def _prefers(request: Request, media_type: str) -> bool:
    """Whether Accept names this type and does not take PNG; a range such as ``*/*`` takes PNG."""
    return media_type != "image/png" and _accepted(request, media_type) and not _accepted(request, "image/png")


def _summary(film: KeptFilm) -> KeptFilmSummary:
    return KeptFilmSummary(**{name: getattr(film, name) for name in KeptFilmSummary.model_fields})


def _details(film: KeptFilm) -> KeptFilmDetails:
    happenings = [FilmHappening(**vars(each)) for each in film.happenings]
    same = {name: getattr(film, name) for name in KeptFilmDetails.model_fields if name != "happenings"}
    return KeptFilmDetails(**same, happenings=happenings)


def _json(body: BaseModel) -> JSONResponse:
    return JSONResponse(body.model_dump(), headers=_NO_STORE)


def _described(
    model: type[BaseModel], *statuses: int, parameters: tuple[str, ...] = ("id",), body: bool = False
) -> dict[str, Any]:
    """What OpenAPI says of a route; FastAPI would document 422 for what it checks itself, and here that means one thing only."""
    return {
        "response_model": model,
        "dependencies": [KEY],
        "responses": {status: _problem_of(status) for status in (400, 401, 403, 429, 503, *statuses)},
        "openapi_extra": {
            "parameters": [_parameter(name) for name in parameters],
            **({"requestBody": _REASON_BODY} if body else {}),
        },
    }


def _picture(
    *media_types: str, parameters: tuple[str, ...] = ("id",), headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    pictures = {
        "description": "The picture.",
        "content": dict.fromkeys(media_types, binary),
        **({"headers": headers} if headers else {}),
    }
    return {
        "response_class": Response,
        "dependencies": [KEY],
        "responses": {
            200: pictures,
            **{status: _problem_of(status) for status in (400, 401, 403, 404, 406, 429, 500, 503, 504)},
        },
        "openapi_extra": {"parameters": [_parameter(name) for name in parameters]},
    }


def _parameter(name: str) -> dict[str, Any]:
    where = "path" if name == "id" else "query"
    return {"name": name, "in": where, "required": where == "path", "schema": _SCHEMA_OF.get(name, {"type": "string"})}


def _problem_of(status: int) -> dict[str, Any]:
    titles = "; ".join(problem.title for problem in PROBLEMS.values() if problem.status == status)
    return {"description": titles, "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}}}


#: Schemas of parameters that do not take any text.
_SCHEMA_OF: Final[dict[str, dict[str, Any]]] = {
    "state": {"type": "string", "enum": list(_STATES)},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_FILMS, "default": DEFAULT_FILMS},
    "original": {"type": "boolean", "default": False},
}
_REASON_BODY: Final = {"required": True, "content": {"application/json": {"schema": Reason.model_json_schema()}}}
