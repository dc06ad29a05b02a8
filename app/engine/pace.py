"""How long a film takes in a stage, as measured; waits are estimated from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Weight of the newest measurement: the last twenty films or so count.
NEWEST: Final = 0.1
#: After so long without a film the measurements are dropped: the next films may be quite another mix.
FORGOTTEN_SECONDS: Final = 60.0


class Pace:
    """Smoothed seconds a film; safe for several threads.

    It is a mean, not a median: a few slow films among many quick ones make the queue. The first measurements weigh the
    same, so that a slow first film does not count for more than the films that follow.

    Parameters
    ----------
    most_seconds : float
        A longer measurement counts as this: beyond the deadline all are the same.
    """

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._lock = threading.Lock()
        self._count = 0
        self._mean = 0.0
        self._last = float("-inf")

    def add(self, seconds: float) -> None:
        """Take one film's seconds."""
        with self._lock:
            if time.monotonic() - self._last > FORGOTTEN_SECONDS:
                self._count, self._mean = 0, 0.0
            self._count += 1
            self._mean += max(NEWEST, 1 / self._count) * (min(seconds, self._most_seconds) - self._mean)
            self._last = time.monotonic()

    @contextmanager
    def time(self) -> Iterator[None]:
        """Measure the seconds of the block, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(time.monotonic() - began)

    @property
    def seconds(self) -> float:
        """Seconds a film; 0 if nothing is known."""
        with self._lock:
            return 0.0 if time.monotonic() - self._last > FORGOTTEN_SECONDS else self._mean
