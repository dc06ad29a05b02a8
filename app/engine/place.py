"""One request's place among those that wait, and the pace at which its body arrives.

A sender that stops, or trickles, holds a place without using the service. Nobody is harmed while there is room, so slow lines
are served; but when another request would be refused, a place whose body is behind the least rate is taken from it. And where
every place is held, one whose body is on its way is taken from the caller who holds most, for one who holds fewer.
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

#: A sender may pause so long, and no longer, before its place can be taken.
PAUSE_SECONDS: Final = 2.0
#: At least so much must arrive, or the place can be taken. Four lines of 64 kbit/s are faster.
LEAST_BYTES_A_SECOND: Final = 16 * 1024
#: Bytes sent ahead count for no more than a pause; otherwise a large part, sent at once, would buy an hour of silence.
_MOST_CREDIT: Final = PAUSE_SECONDS * LEAST_BYTES_A_SECOND


class Place:
    """One request's share of what may wait.

    Attributes
    ----------
    sharer : str
        Who shares places and bytes with the others: a caller, or an address.
    bytes : int
        What it holds.
    taken : bool
        It was given to another request.
    began : float
        When the place was given; of ``time.monotonic``, s.
    """

    def __init__(self, admission: Admission, sharer: str) -> None:
        self._admission = admission
        self.sharer = sharer
        self.bytes = 0
        self.taken = False
        self.began = time.monotonic()
        self._why = ""
        self._credit = _MOST_CREDIT
        self._since: float | None = None  # when the wait for the sender began; None: it is not waited for
        self._cut: asyncio.Timeout | None = None

    def reserve(self, total: int) -> None:
        """Hold so many bytes in all, instead of what was held before.

        Raises
        ------
        Overloaded
            With what others hold that is too much. Whoever is alone is never refused, or a large film never had its turn.
        """
        self._admission.reserve(self, total)

    def require_room_for(self, total: int) -> None:
        """Refuse at once what would be refused later. Nothing is held: what is announced may never come.

        Raises
        ------
        Overloaded
        """
        self._admission.require_room_for(self, total)

    def arrived(self, count: int) -> None:
        """So many bytes more have come from the sender."""
        self._settle()
        self._credit = min(_MOST_CREDIT, self._credit + count)

    @property
    def behind(self) -> float:
        """Bytes that are missing at the least rate; 0 while the sender keeps pace, or is not waited for."""
        self._settle()
        return max(0.0, -self._credit) if self._since is not None else 0.0

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """The block waits for the sender; while it does, the place can be taken.

        Raises
        ------
        Overloaded
            It was taken.
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
        if self.taken:  # perhaps in the very moment in which the body became whole
            raise Overloaded(f"{self._why}, in {self._admission.retry_after} s", self._admission.retry_after)

    @property
    def awaited(self) -> bool:
        """Whether its sender is waited for, so that it can be taken."""
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
