"""Gives up a film whose client hangs up while it waits, so that its place and bytes are free."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CancelOnDisconnect:
    """Cancel a request whose client left before the answer began; servers and frameworks do not cancel it.

    Parameters
    ----------
    paths : collection of str
        Paths whose answers are of use to this client only. A store transaction's path is not among them: its verdicts are
        recorded, and answer the sender's next attempt.
    """

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self.app = app
        self.paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) not in self.paths:
            await self.app(scope, receive, send)
            return
        next_message: asyncio.Task[Message] | None = None
        answering = gone = False

        async def receive_and_watch() -> Message:
            """Receive; once the body is whole, wait for the disconnect, the only message that can still come."""
            nonlocal next_message
            if next_message:
                return await asyncio.shield(next_message)
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                next_message = asyncio.ensure_future(receive())
                next_message.add_done_callback(hang_up)
            return message

        def hang_up(task: asyncio.Task[Message]) -> None:
            nonlocal gone
            if task.cancelled() or task.exception() or answering:
                return
            if task.result()["type"] == "http.disconnect":
                gone = True
                work.cancel()

        async def send_and_note(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        work = asyncio.ensure_future(self.app(scope, receive_and_watch, send_and_note))
        try:
            await work
        except asyncio.CancelledError:
            if not gone:
                raise
        finally:
            if next_message:
                next_message.cancel()
