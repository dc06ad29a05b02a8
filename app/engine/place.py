"""One request's place among those that wait, and the pace at which its body arrives.

A sender that stops, or trickles, holds a place without using the service. That harms nobody while there is room, so slow lines
are served. When another request would be refused, it takes a place whose body is behind the least rate. If every place is held,
a caller who holds fewer takes a place whose body is on its way from the caller who holds most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from .errors import Overloaded

if TYPE_CHECKING:
    from .admission import Admission

#: A sender may pause so long before its place can be taken.
PAUSE_SECONDS: Final = 2.0
#: A body that arrives more slowly can lose its place. Four lines of 64 kbit/s are faster.
LEAST_BYTES_A_SECOND: Final = 16 * 1024
#: Bytes sent ahead allow no more than one pause; otherwise a large part, sent at once, would allow an hour of silence.
_MOST_CREDIT: Final = PAUSE_SECONDS * LEAST_BYTES_A_SECOND


class Place:
    """One request's place, with the bytes that it holds.

    Attributes
    ----------
    sharer : str
        The caller or the address that shares places and bytes with others.
    bytes : int
        Bytes that the place holds.
    taken : bool
        Whether the place was given to another request.
    began : float
        When the place was given, in seconds of ``time.monotonic()``.
    """

    def __init__(self, admission: Admission, sharer: str) -> None:
        self._admission = admission
        self.sharer = sharer
        self.bytes = 0
        self.taken = False
        self.began = time.monotonic()
        self._why = ""
        self._credit = _MOST_CREDIT
        self._since: float | None = None  # when the wait for the sender began; None: nothing waits for it
        self._cut: asyncio.Timeout | None = None

    def reserve(self, total: int) -> None:
        """Hold `total` bytes, instead of the bytes held before.

        Raises
        ------
        Overloaded
            Too much beside the bytes of others. A request alone is never refused, or a large film would never have its turn.
        """
        self._admission.reserve(self, total)

    def require_room_for(self, total: int) -> None:
        """Refuse now what ``reserve`` would refuse later. Nothing is held: the announced bytes may never come.

        Raises
        ------
        Overloaded
        """
        self._admission.require_room_for(self, total)

    def arrived(self, count: int) -> None:
        """Note that `count` more bytes have come from the sender."""
        self._settle()
        self._credit = min(_MOST_CREDIT, self._credit + count)

    @property
    def behind(self) -> float:
        """Bytes that are missing at the least rate; 0 while the sender keeps pace, or nothing waits for it."""
        self._settle()
        return max(0.0, -self._credit) if self._since is not None else 0.0

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Mark the block as waiting for the sender; meanwhile the place can be taken.

        Raises
        ------
        Overloaded
            The place was taken.
        """
        try:
            async with asyncio.timeout(None) as self._cut:
                self._since = time.monotonic()
                yield
        except TimeoutError:
            if not self.taken:
                raise
        finally:
            self._settle()
            self._since = self._cut = None
        if self.taken:  # perhaps just as the body became whole
            raise Overloaded(f"{self._why}, in {self._admission.retry_after} s", self._admission.retry_after)

    @property
    def awaited(self) -> bool:
        """Whether it waits for its sender, so that it can be taken."""
        return self._since is not None

    def take(self, why: str) -> None:
        """End the wait for the sender, since another request needs the place; the sender's answer says `why`."""
        self.taken = True
        self._why = why
        if self._cut is not None:
            self._cut.reschedule(asyncio.get_running_loop().time())

    def _settle(self) -> None:
        if self._since is not None:
            now = time.monotonic()
            self._credit -= (now - self._since) * LEAST_BYTES_A_SECOND
            self._since = now
