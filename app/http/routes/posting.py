"""Shared by the routes that take one film a request: read the body, and screen the film."""

from __future__ import annotations

import hashlib

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.engine import Place
from app.screening import Origin, PostedFilm, Screened
from app.tracing import span

from ..problems import HttpError
from ..security import sharer
from ..services import Services
from ..wire.body import read_film


async def screen_posted(
    request: Request,
    *,
    unless_dicom: str | None = None,
    heatmap: int | None = None,
    explains: bool = False,
    report: bool = False,
    key: str | None = None,
) -> Screened:
    """Read the film of a request in a place of its own, within one deadline, and screen it.

    Parameters
    ----------
    unless_dicom : str, optional
        The error for a film that is not DICOM, if the answer can be made of DICOM only.
    heatmap, explains, report
        As in ``Screening.screen``.
    key : str, optional
        The sender's Idempotency-Key. A film that has a decision then gets no new one.

    Raises
    ------
    HttpError
    NotReady, Overloaded
        Nothing more can wait.
    Exception
        As ``Screening.screen`` raises it.
    """
    services = Services.of(request)
    screening = services.screening
    with screening.engine.place(sharer(request)) as place:
        async with screening.engine.deadline() as deadline:
            film = await _read(request, services.settings.max_body_bytes, place)
            if unless_dicom and film.kind != "dicom":
                raise HttpError("not-acceptable", unless_dicom)
            if key is not None:
                digest = await run_in_threadpool(lambda: hashlib.sha256(film.data).digest())
                services.films_of_keys.use(sharer(request), key, digest)
            state = request.state
            origin = origin_of(request, state.arrived, state.request_id)
            return await screening.screen(
                film, origin, deadline, heatmap=heatmap, explains=explains, recalls=key is not None, report=report
            )


async def _read(request: Request, max_body_bytes: int, place: Place) -> PostedFilm:
    with span("read"):
        async with place.arriving():
            film, kind = await read_film(request, max_body_bytes, place)
    request.state.source_kind = kind
    return PostedFilm(film, kind)


def origin_of(request: Request, arrived: float, film_id: str) -> Origin:
    """The origin of a film of a request; see ``Origin``."""
    state = request.state
    route = request.scope["route"].path
    return Origin(
        state.request_id, state.caller, route, sharer(request), arrived, film_id, state.caller_request_id or None
    )
