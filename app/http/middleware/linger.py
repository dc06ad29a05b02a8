"""Delivers an answer that comes before the end of the body. A connection closed on unread bytes is reset: the answer is lost.

Proxies and most clients write the whole body before they read, and many ask for the connection to be closed. A refusal in the
middle of the body was a network error to them, without its ``Retry-After``. Clients that keep connections send
their next request as soon as they have the answer, so an answer after which the connection may be closed says so (RFC 9112
section 9.6).
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..wire.body import declared_length

#: Time for slow senders; the connection of a slower sender is reset.
LINGER_SECONDS: Final = 10.0


class Linger:
    """Send an early answer at once; then read and drop the rest of the body before the connection is reused or closed.

    Parameters
    ----------
    max_bytes : int
        Limit of the rest; a longer one is reset. A body whose declared length is within it leaves its connection open.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        # A client that expects "100 Continue" has not begun to send.
        if "expect" in headers or not ("content-length" in headers or "transfer-encoding" in headers):
            await self.app(scope, receive, send)
            return
        declared = declared_length(headers)
        ends = declared is not None and declared <= self.max_bytes
        whole = early = False

        async def receive_and_note() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body")  # or a disconnect
            return message

        async def send_unended(message: Message) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and not (whole or ends):
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            if message["type"] == "http.response.body" and not message.get("more_body") and not whole:
                early = True
                message = {**message, "more_body": True}
            await send(message)

        try:
            await self.app(scope, receive_and_note, send_unended)
        finally:
            if early:
                await self._read_over(receive)
                await send({"type": "http.response.body"})

    async def _read_over(self, receive: Receive) -> None:
        left = self.max_bytes
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await receive()
                    if not message.get("more_body"):
                        return
                    left -= len(message["body"])
        except TimeoutError:
            return
