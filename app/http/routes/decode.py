"""``POST /v1/decode``: the decoded film, for a viewer that moves the window. Nothing is judged."""

from __future__ import annotations

from typing import Final, get_args

from fastapi import APIRouter, Request, Security
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.pipeline.dicom.sides import Sides, read_sides
from app.results import film_png_16

from ..exposed_field import described_header, field_header
from ..openapi import binary, problems
from ..problems import OF_FILMS, HttpError
from ..security import require, sharer
from ..services import Services
from ..wire.accept import accepts
from ..wire.body import read_film
from ..wire.media import FILM_BODY

PATH: Final = "/v1/decode"
#: Names the side of the patient at the picture's left edge, by the film's header.
SIDES_HEADER: Final = "X-Film-Sides"

_HEADERS: Final = {
    **described_header(always=True),
    SIDES_HEADER: {
        "description": "What PatientOrientation says: usual (the patient's right lies at the left edge), mirrored, or "
        "unknown. PNG and JPEG are always unknown.",
        "required": True,
        "schema": {"type": "string", "enum": list(get_args(Sides))},
    },
}

router = APIRouter(tags=["films"])


@router.post(
    PATH,
    response_class=Response,
    responses={**binary("The whole film.", "image/png", headers=_HEADERS), **problems(*OF_FILMS, "not-acceptable")},
    openapi_extra={"requestBody": FILM_BODY},
    dependencies=[Security(require, scopes=["score"])],
)
async def decode(request: Request) -> Response:
    """A film as 16-bit PNG, after modality LUT, window and inversion: the whole film, before it is made small.

    The header X-Exposed-Field says which part of it is judged; borders are not. X-Film-Sides says which side of the patient
    lies where, if the film's own header does. The gate does not judge the film here: a sender may see his own, and the
    answer says nothing of its score.
    """
    if not accepts(",".join(request.headers.getlist("accept")), "image/png"):
        raise HttpError("not-acceptable", "the film is image/png; name it in Accept, or leave Accept out")
    engine, settings = Services.of(request).engine, Services.of(request).settings
    with engine.place(sharer(request)) as place:
        async with engine.deadline() as deadline:
            async with place.arriving():
                film, kind = await read_film(request, settings.max_body_bytes, place)
            image, _ = await engine.decode(sharer(request), film, deadline.expires, kind)
            picture = await run_in_threadpool(film_png_16, image.pixels)
            sides: Sides = "unknown"  # PNG and JPEG have no header that names the sides
            if image.source_kind == "dicom":
                sides = await run_in_threadpool(read_sides, film, settings.max_pixels)
    headers = {"Cache-Control": "no-store", SIDES_HEADER: sides, **field_header(image.field)}
    return Response(picture, media_type="image/png", headers=headers)
