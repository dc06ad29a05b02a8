"""In Ray's HTTP proxy: a request whose replica died goes to another, and Ray's own refusals become problems.

If a replica dies, Ray Serve gives up on its requests, and their callers get a bare 500. Every side effect of scoring is safe
to have twice, so this middleware sends the request again, with the bytes of its body that it has seen.

Every node's proxy loads this because the environment of ``ray start`` says ``CALLBACK``; see deploy/ray/README.md.
"""

from __future__ import annotations

import json
import logging
import uuid
from typing import Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLBACK_VARIABLE: Final = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
CALLBACK: Final = "app.cluster.ray_proxy.middlewares"
#: Two, so that a film that kills its replica kills no more than two.
ATTEMPTS: Final = 2
#: Bytes that one proxy keeps of all bodies in flight. A request that finds no room is served, but not sent again.
KEPT_BYTES: Final = 512 * 1024 * 1024
RETRY_AFTER_SECONDS: Final = 2

#: Ray's own answers by status: problem, title, status and detail for the caller. Ray's 404 says that no application is
#: deployed yet, which passes. Its 408 says that request_timeout_s of its configuration is over.
_PROBLEMS: Final = {
    404: ("not-ready", "not ready", 503, "no replica is deployed yet; try again shortly"),
    408: ("deadline-passed", "deadline passed", 504, "no answer within the time that the cluster allows"),
    500: ("not-ready", "not ready", 503, "the replica that had the request died; try again shortly"),
    503: ("overloaded", "overloaded", 503, "all replicas are busy, or none is there; try again shortly"),
}


def middlewares() -> list[Middleware]:
    """The middlewares of Ray's proxy, which calls this at its start."""
    # Ray's access log holds callers' addresses; the replicas log each answer without them.
    logging.getLogger("ray.serve").addFilter(lambda record: not getattr(record, "serve_access_log", False))
    return [Middleware(PutAgain)]


class PutAgain:
    """ASGI middleware. It is outermost, so it sees Ray's own answers."""

    def __init__(self, app: ASGIApp, kept_bytes: int = KEPT_BYTES) -> None:
        self._app = app
        self.room = kept_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Ray's own pages
            await self._app(scope, receive, send)
            return
        # Ray would take the caller's id for its own, and write it into its logs.
        headers = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
        body = _Body(receive, self)
        status = 500
        try:
            for _ in range(ATTEMPTS):
                answer = _Answer(send)
                await self._app({**scope, "headers": [*headers]}, body.receive, answer.send)
                if answer.begun or body.caller_left:
                    return
                if answer.of_ray is not None:
                    status = answer.of_ray
                    break
                if not body.rewind():
                    break
        finally:
            body.forget()
        await _refuse(send, status)


class _Body:
    """A request's messages. They can be read again from the first if there was room to keep them."""

    def __init__(self, receive: Receive, owner: PutAgain) -> None:
        self._receive = receive
        self._owner = owner
        self._kept: list[Message] = []
        self._kept_bytes = 0
        self._whole = True
        self._next = 0
        self.caller_left = False

    async def receive(self) -> Message:
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.caller_left = True
        elif self._whole:
            self._keep(message)
        return message

    def _keep(self, message: Message) -> None:
        size = len(message.get("body", b""))
        if size > self._owner.room:
            self.forget()
            return
        self._owner.room -= size
        self._kept_bytes += size
        self._kept.append(message)
        self._next = len(self._kept)

    def rewind(self) -> bool:
        """Begin again; False if that cannot be done."""
        self._next = 0
        return self._whole

    def forget(self) -> None:
        """Give the room back."""
        self._owner.room += self._kept_bytes
        self._kept_bytes = 0
        self._kept.clear()
        self._whole = False
        self._next = 0


class _Answer:
    """Passes a replica's answer on, from the first byte of its body; holds back Ray's own answers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self.begun = False
        self.of_ray: int | None = None  # status of Ray's own answer

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if _is_rays(message):
                self.of_ray = message["status"]
            else:
                self._start = {**message, "headers": _with_one_request_id(message["headers"])}
        elif self.of_ray is None:
            if self._start is not None:
                self.begun = True
                start, self._start = self._start, None
                await self._send(start)
            await self._send(message)


def _is_rays(start: Message) -> bool:
    """Ray's own answers are plain text; the service's errors never are."""
    content_type = next((value for name, value in start["headers"] if name.lower() == b"content-type"), b"")
    return start["status"] in _PROBLEMS and content_type.startswith(b"text/plain")


def _with_one_request_id(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Keep the service's id, which is first and stands in the body and in the log; Ray adds its own after it."""
    ids = [pair for pair in headers if pair[0].lower() == b"x-request-id"]
    return [*(pair for pair in headers if pair[0].lower() != b"x-request-id"), *ids[:1]]


async def _refuse(send: Send, rays_status: int) -> None:
    slug, title, status, detail = _PROBLEMS[rays_status]
    request_id = uuid.uuid4().hex
    problem = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"/requests/{request_id}",
        "request_id": request_id,
    }
    content = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(content)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
