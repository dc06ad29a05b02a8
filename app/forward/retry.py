"""Try again, later and later, with jitter, until it succeeds or the forwarder is to stop."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from .errors import Fault, Passing, Stopping

FIRST_SECONDS: Final = 0.5
MOST_SECONDS: Final = 60.0
#: So often in a row a film is tried on which the other side fails. Then it is set aside, so that it cannot hold up all others.
FAULT_ATTEMPTS: Final = 5

T = TypeVar("T")


class Retry:
    """Repeats an attempt: after ``Passing`` for ever, after ``Fault`` up to `fault_attempts` times."""

    def __init__(
        self,
        stop: asyncio.Event,
        noticed: Callable[[Passing | Fault, float], None],
        fault_attempts: int = FAULT_ATTEMPTS,
    ) -> None:
        self._stop = stop
        self._noticed = noticed
        self._fault_attempts = fault_attempts

    async def __call__(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run `attempt` until it succeeds.

        Raises
        ------
        Fault
            The last of too many, or one that asks for a longer wait than any here.
        Stopping
            The forwarder is to stop, and this was noticed between two attempts.
        """
        attempts = faults = 0
        while True:
            try:
                return await attempt()
            except Passing as error:
                noticed: Passing | Fault = error
            except Fault as error:
                noticed = error
                faults += 1
                if faults == self._fault_attempts or error.retry_after > MOST_SECONDS:
                    raise
            delay = max(noticed.retry_after, backoff_seconds(attempts))
            attempts += 1
            self._noticed(noticed, delay)
            if await wait(self._stop, delay):
                raise Stopping("stopping; unfinished films are taken up at the next start")


def backoff_seconds(attempts: int) -> float:
    """Twice as long after each attempt, up to a limit, minus up to half of it, so that many films that failed "
    "at once do not return at once."""
    return min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts, 30)) * random.uniform(0.5, 1.0)


async def wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, but only until the forwarder is to stop; returns whether it is."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
