"""Request id, access log and metrics, as pure ASGI: unlike BaseHTTPMiddleware it hides no disconnect."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics

#: For the counts and the log: the client hung up before its answer. No status of HTTP, but nginx and others write it so.
CLIENT_LEFT: Final = 499

log = logging.getLogger("cxr_gate")


class Observe:
    """Give each request an id of our own, and count, time and log its answer. Nothing of the body is logged."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
            status = status or CLIENT_LEFT
        finally:
            status = status or 500
            seconds = time.perf_counter() - started
            # The route's template, never the path itself, which a caller may fill with anything.
            route = getattr(scope.get("route"), "path", "unmatched")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            log.info(
                "answered",
                extra={"request_id": request_id, "route": route, "status": status, "seconds": round(seconds, 4)},
            )
