"""Callers share the decoders: only a few films of each are decoded at a time, so that the films of others come between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Share:
    """Lets each caller have `most` films in decoders or in line for them; the rest wait here. Used in one event loop.

    Each other caller then has at most `most` films in line before a film, however many it has sent.

    Parameters
    ----------
    most : int
        Films of one caller. No decoder stands idle for this limit if it is more than the number of decoders.
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
        """Wait for one of the caller's turns, and hold it."""
        if self._held.get(sharer, 0) < self._most:
            self._held[sharer] = self._held.get(sharer, 0) + 1
        else:
            await self._turn(sharer)
        try:
            yield
        finally:
            self._pass_on(sharer)

    async def _turn(self, sharer: str) -> None:
        """Wait until an earlier film of the caller passes its turn on; first come, first served."""
        line = self._waiting.setdefault(sharer, deque())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn came just as the wait was cancelled
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
