"""Which report is tried next, and when: each has waits of its own, so that one which fails holds no other back."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from dataclasses import dataclass
from typing import Final

#: Seconds after the first failure of a report; then twice as long each time, up to the longest, minus up to a half.
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 300.0


@dataclass
class _Waiting:
    """A waiting report. Times are those of ``time.monotonic`` in seconds."""

    since: float
    turn: int  # number of its place in the queue; an older number is void
    failures: int = 0
    hurried: bool = False  # it failed because the server was away, not by its own fault


class Schedule:
    """Reports by name, and which is due first. Any thread may use it. Times are those of ``time.monotonic`` in seconds."""

    def __init__(self) -> None:
        self._reports: dict[str, _Waiting] = {}
        self._queue: list[tuple[float, int, str]] = []
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, name: str, since: float) -> None:
        """Add a report that waits since then; one that is already here keeps its place and its wait."""
        with self._lock:
            if name not in self._reports:
                self._reports[name] = waiting = _Waiting(since, 0)
                self._place(name, waiting, since)

    def next(self, now: float) -> tuple[str | None, float | None]:
        """The report that is due, or None and the seconds until one is; None for these too if none waits."""
        with self._lock:
            while self._queue:
                due, turn, name = self._queue[0]
                waiting = self._reports.get(name)
                if waiting is None or waiting.turn != turn:
                    heapq.heappop(self._queue)
                    continue
                return (name, 0.0) if due <= now else (None, due - now)
            return None, None

    def failed(self, name: str, now: float, asked: float, *, away: bool) -> None:
        """Let a report wait longer than before, and at least as long as the server asked.

        Parameters
        ----------
        away : bool
            Whether it failed because the server is away; then ``hurry`` may let it be tried sooner.
        """
        with self._lock:
            if waiting := self._reports.get(name):
                wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(waiting.failures, 30))
                waiting.failures += 1
                waiting.hurried = away and not asked
                self._place(name, waiting, now + max(asked, wait * random.uniform(0.5, 1.0)))

    def hurry(self, now: float) -> None:
        """The server is back: reports that failed only for that reason are due, in the order in which they came."""
        with self._lock:
            for name, waiting in self._reports.items():
                if waiting.hurried:
                    waiting.hurried, waiting.failures = False, 0
                    self._place(name, waiting, min(waiting.since, now))

    def done(self, name: str) -> None:
        """The report no longer waits."""
        with self._lock:
            self._reports.pop(name, None)

    def oldest(self, now: float) -> float:
        """The seconds that the oldest report has waited; 0 if none waits."""
        with self._lock:
            return max(0.0, now - min((waiting.since for waiting in self._reports.values()), default=now))

    def _place(self, name: str, waiting: _Waiting, due: float) -> None:
        waiting.turn = next(self._turns)
        heapq.heappush(self._queue, (due, waiting.turn, name))
