"""``GET /v1/results/{id}``: gives senders the probabilities of a film that was rejected and later released."""

from __future__ import annotations

from fastapi import APIRouter, Request, Security
from starlette.responses import JSONResponse

from app.quarantine import NoSuchFilm, Quarantine
from app.records import KeptFilm

from ..openapi import problems
from ..problems import OF_FILMS, PROBLEMS, HttpError
from ..schemas import Release, ReleasedResult
from ..security import require, sharer
from ..services import Services
from .quarantine import FilmId, Kept, event, never_stored

router = APIRouter(tags=["quarantine"])


@router.get(
    "/v1/results/{id}",
    response_model=ReleasedResult,
    responses=problems(
        *OF_FILMS,
        "not-found",
        "awaiting-review",
        "confirmed-as-bad",
        "film-unreadable",
        "inference-failed",
        "record-unavailable",
    ),
    dependencies=[Security(require, scopes=["score", "review"])],
)
async def released_result(request: Request, id: FilmId, kept: Kept) -> JSONResponse:
    """What an accepted film is answered, of one that was rejected and that a reviewer released since."""
    film = await kept.film(id)
    if request.state.caller not in film.callers and "review" not in request.state.scopes:
        raise NoSuchFilm  # another caller does not learn that the film exists
    return never_stored(await _result(request, kept, film))


async def _result(request: Request, kept: Quarantine, film: KeptFilm) -> ReleasedResult:
    decision = film.decision
    if decision is None:
        raise HttpError("awaiting-review", PROBLEMS["awaiting-review"].meaning)
    if decision.kind != "released":
        raise HttpError("confirmed-as-bad", PROBLEMS["confirmed-as-bad"].meaning)
    engine = Services.of(request).engine
    version, image, probabilities = await engine.screen_released(
        sharer(request), await kept.read(film), film.source_kind
    )
    calls = version.bundle.calls
    answered = {"model_version": version.name, "probabilities": probabilities, "calls": calls.words(probabilities)}
    await kept.note(event(request, "answered", film, **answered))
    released = Release(by=decision.by, reason=decision.reason or "", time=decision.time)
    return ReleasedResult.of(film.request_id, version, image, probabilities, released=released)
