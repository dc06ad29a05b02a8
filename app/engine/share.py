"""Decoders are shared by callers: who sends many costly films at once is decoded a few at a time, and others come between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Share:
    """Lets each caller have so many films in decoders or in line for them; the rest wait here. Used in one event loop.

    In line before a film are then at most so many of every other caller's, however many these have sent.

    Parameters
    ----------
    most : int
        Of one caller's; no decoder stands idle by it if that is more than the number of decoders.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """Films that wait here."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def of(self, sharer: str) -> AsyncIterator[None]:
        """Wait for a turn of the caller's, and hold it."""
        if self._held.get(sharer, 0) < self._most:
            self._held[sharer] = self._held.get(sharer, 0) + 1
        else:
            await self._turn(sharer)
        try:
            yield
        finally:
            self._pass_on(sharer)

    async def _turn(self, sharer: str) -> None:
        """Wait until somebody passes a turn on, in the order of coming."""
        line = self._waiting.setdefault(sharer, deque())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came in the very moment of giving up
                self._pass_on(sharer)
            raise
        finally:
            if turn in line:
                line.remove(turn)
            if not line and self._waiting.get(sharer) is line:
                del self._waiting[sharer]

    def _pass_on(self, sharer: str) -> None:
        for turn in self._waiting.get(sharer, ()):
            if not turn.done():
                turn.set_result(None)
                return
        self._held[sharer] -= 1
        if not self._held[sharer]:
            del self._held[sharer]
