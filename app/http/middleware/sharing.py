"""Answers the preflights of pages of allowed sites, and lets these pages read all answers."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..wire.origins import Origins


class ShareWithOrigins:
    """Put the headers of ``Origins`` on every answer.

    Refusals need them as well: a browser shows a page neither status nor body of an answer without them.

    Parameters
    ----------
    app : ASGIApp
    origins : Origins
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self.app = app
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        scope["state"]["answer_headers"].update(self.origins.headers(origin))
        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if is_preflight and origin in self.origins:
            await Response(status_code=204, headers=self.origins.preflight_headers())(scope, receive, send)
        else:
            await self.app(scope, receive, send)
