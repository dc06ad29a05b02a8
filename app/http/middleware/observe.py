"""Request id, access log and metrics, as pure ASGI: unlike BaseHTTPMiddleware it hides no disconnect."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from app.tracing import Tracing, finish

#: Counted and logged if the client hung up before its answer. It is no status of HTTP, but nginx and others write it too.
CLIENT_LEFT: Final = 499
#: The usual characters of request ids. Names of people have spaces, commas or carets, and a line break would forge a log line.
_CALLERS_ID: Final = re.compile(r"[A-Za-z0-9._~:+=/-]{1,128}")

log = logging.getLogger("cxr_gate")


class Observe:
    """Give each request the service's own id, and count, time, trace and log its answer. Nothing of the body is logged.

    The caller's own id is kept beside the service's and returned unchanged. It may repeat, so no lookup relies on it alone.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self.app = app
        self.metrics = metrics
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        started = time.perf_counter()
        # Headers of every answer to this request; the error page, which is sent outside all middleware, takes them from here too.
        answer_headers = {"X-Request-ID": request_id}
        if callers := _callers_id(scope):
            answer_headers = {"X-Request-ID": callers, "X-Service-Request-ID": request_id}
        scope.setdefault("state", {}).update(
            request_id=request_id, caller_request_id=callers, arrived=started, answer_headers=answer_headers
        )
        # The trace stays after the answer, so that the server's own log lines of this request's task still name it.
        trace = self.tracing.enter(request_id, scope["headers"], scope["method"], callers)
        # HEAD is GET without the body (RFC 9110 section 9.3.2), which the server leaves out.
        scope = {**scope, "method": "GET"} if (method := scope["method"]) == "HEAD" else scope
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(answer_headers)
                # A browser must not take an answer of another type for a page of the service.
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
            status = status or CLIENT_LEFT
        finally:
            status = status or 500
            seconds = time.perf_counter() - started
            # The route's template, never the path itself, which a caller may fill with anything.
            matched = getattr(scope.get("route"), "path", None)
            route = matched or "unmatched"
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            log.info(
                "answered",
                extra={"request_id": request_id, "route": route, "status": status, "seconds": round(seconds, 4)},
            )
            answered = None if status == CLIENT_LEFT else status
            finish(trace, method, matched, answered, scope["scheme"], scope["http_version"])


def _callers_id(scope: Scope) -> str:
    """The one X-Request-ID of a request; empty if there is none, or if it must not stand in a log as it came."""
    given = Headers(scope=scope).getlist("x-request-id")
    return given[0] if len(given) == 1 and _CALLERS_ID.fullmatch(given[0]) else ""
