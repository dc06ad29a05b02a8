"""What the routes share that a film is posted to by itself: its body is read, and the film is screened."""

from __future__ import annotations

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
) -> Screened:
    """Read the film of a request in a place of its own, within one deadline, and screen it.

    Parameters
    ----------
    unless_dicom : str, optional
        What a sender is told whose film is not DICOM, where the answer can be made of DICOM only.
    heatmap, explains, report
        As of ``Screening.screen``.

    Raises
    ------
    HttpError
    NotReady, Overloaded
        Nothing more can wait.
    Exception
        As of ``Screening.screen``.
    """
    services = Services.of(request)
    screening = services.screening
    with screening.engine.place(sharer(request)) as place:
        async with screening.engine.deadline() as deadline:
            film = await _read(request, services.settings.max_body_bytes, place)
            if unless_dicom and film.kind != "dicom":
                raise HttpError("not-acceptable", unless_dicom)
            state = request.state
            origin = origin_of(request, state.arrived, state.request_id)
            return await screening.screen(film, origin, deadline, heatmap=heatmap, explains=explains, report=report)


async def _read(request: Request, max_body_bytes: int, place: Place) -> PostedFilm:
    with span("read"):
        async with place.arriving():
            film, kind = await read_film(request, max_body_bytes, place)
    request.state.source_kind = kind
    return PostedFilm(film, kind)


def origin_of(request: Request, arrived: float, film_id: str) -> Origin:
    """Where a film of a request comes from; see ``Origin``."""
    state = request.state
    return Origin(state.request_id, state.caller, request.scope["route"].path, sharer(request), arrived, film_id)
