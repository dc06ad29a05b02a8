"""Who may wait: a request is refused before its body is read if too many, too much or too long work waits already.

The work ahead is estimated from what is counted and measured: those not yet decoded, by the seconds of a decode and the
number of workers; all of them, by the seconds of a film on a device and the number of devices. The two stages run side by
side, so the slower one is the wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.metrics import Metrics
from app.settings import Settings

from .errors import Overloaded

#: Of the deadline, what the estimated wait may take: the estimate is of means, and the request's own work comes on top.
USABLE_SHARE: Final = 0.75


class Place:
    """One request's share of what may wait."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.bytes = 0

    def reserve(self, total: int) -> None:
        """Hold so many bytes in all, instead of what was held before.

        Raises
        ------
        Overloaded
            With what others hold that is too much. Whoever is alone is never refused, or a large film never had its turn.
        """
        self._admission.reserve(self, total)


class Admission:
    """Counts what waits; used in the event loop's thread alone.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics
    seconds_of : callable
        The number of requests -> the estimated seconds until they are done.
    """

    def __init__(self, settings: Settings, metrics: Metrics, seconds_of: Callable[[int], float]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._seconds_of = seconds_of
        self._waiting = 0
        self._bytes = 0
        metrics.estimated_wait.set_function(lambda: self.seconds_ahead)

    @property
    def seconds_ahead(self) -> float:
        """Estimated seconds until what waits now is done."""
        return self._seconds_of(self._waiting)

    @property
    def retry_after(self) -> int:
        """What to tell those who are refused: whole seconds, at least 1, and no longer than anything may wait."""
        return max(1, math.ceil(min(self.seconds_ahead, self._settings.deadline_seconds)))

    def room_for(self, count: int) -> bool:
        """Whether a place with so many bytes would be given now."""
        return self._obstacle() is None and self._bytes + count <= self._settings.max_waiting_bytes

    def check(self) -> None:
        """Refuse if nothing more can wait.

        Raises
        ------
        Overloaded
        """
        if obstacle := self._obstacle():
            self._refuse(*obstacle)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Hold a place.

        Raises
        ------
        Overloaded
        """
        self.check()
        place = Place(self)
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            yield place
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)
            self._hold(place, 0)

    def reserve(self, place: Place, total: int) -> None:
        """See ``Place.reserve``."""
        others = self._bytes - place.bytes
        if total > place.bytes and others and others + total > self._settings.max_waiting_bytes:
            self._refuse("bytes", f"{self._bytes:,} bytes wait already")
        self._hold(place, total)

    def _hold(self, place: Place, total: int) -> None:
        self._bytes += total - place.bytes
        place.bytes = total
        self._metrics.waiting_bytes.set(self._bytes)

    def _obstacle(self) -> tuple[str, str] | None:
        """What forbids another place, for the metrics and for people. An empty service has none, whatever it measured."""
        if self._waiting == 0:
            return None
        if self._waiting >= self._settings.max_waiting:
            return "requests", f"{self._waiting} requests wait already"
        if self.seconds_ahead > USABLE_SHARE * self._settings.deadline_seconds:
            return "wait", "what waits already takes longer than the deadline leaves"
        return None

    def _refuse(self, reason: str, detail: str) -> None:
        self._metrics.admissions_refused.labels(reason).inc()
        raise Overloaded(f"{detail}; try again in {self.retry_after} s", self.retry_after)
