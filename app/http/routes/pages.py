"""The web pages: ``/``, the viewer, and ``/ops``, the console. Both are static, and get all that they show from the API."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Written by ``make page`` from web/.
FOLDER: Final = Path(__file__).parents[1] / "static" / "page"
#: No inline code, no code of other sites, no frame around the page. Pictures that the page fetched itself are blobs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Browsers ask anew each time, and get 304 if nothing changed: a new release shows at once.
    "Cache-Control": "no-cache",
}


def serve_pages(application: FastAPI) -> None:
    """Add ``/``, ``/ops`` and the files that they load."""
    application.mount("/static/page", _Headed(StaticFiles(directory=FOLDER)))

    @application.get("/", include_in_schema=False)
    async def viewer() -> FileResponse:
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    @application.get("/ops", include_in_schema=False)
    async def console() -> FileResponse:
        return FileResponse(FOLDER / "ops.html", headers=HEADERS)


class _Headed:
    """Adds ``HEADERS`` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, headed)
