"""Which requests may wait. A request is refused before its body is read if too many requests or bytes, or too long work, wait.

The wait is estimated from counts and measurements. The requests not yet decoded take the seconds of a decode over the number of
workers. All requests take the seconds of a film on a device over the number of devices. The two stages run side by side, so the
slower one is the wait.

Callers share places, bytes and the wait, so that no caller blocks the others: each may hold ``SHARE`` times what it leaves free.
One caller alone has three quarters; two who come side by side have three sevenths each (dynamic thresholds: Choudhury and
Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). Callers who come one after the other may still fill all places: of four,
the first has 48 of 64. Then a caller who holds fewer takes a place from the one who holds most, if its body is still on its way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from app.metrics import Metrics
from app.settings import Settings

from .errors import Overloaded
from .place import LEAST_BYTES_A_SECOND, Place

#: Share of the deadline that the estimated wait may take: the estimate is of means, and the request's own work comes on top.
USABLE_SHARE: Final = 0.75
#: A caller may hold so many times what it leaves free.
SHARE: Final = 3
_TOO_SLOW: Final = (
    "the body arrived too slowly, and its place was given to another request; send it at "
    f"{LEAST_BYTES_A_SECOND // 1024} KiB/s or more"
)
_TOO_MANY: Final = (
    "all places were taken, most of them by this caller, so this request lost its place to another caller; send "
    "fewer at once"
)


class Admission:
    """Counts the requests and bytes that wait; used in the event loop's thread alone.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics
    seconds_of : callable
        Gives, for a number of requests, the estimated seconds until they are done.
    """

    def __init__(self, settings: Settings, metrics: Metrics, seconds_of: Callable[[int], float]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._seconds_of = seconds_of
        self._places: set[Place] = set()
        self._bytes = 0
        metrics.estimated_wait.set_function(lambda: self.seconds_ahead)

    @property
    def seconds_ahead(self) -> float:
        """Estimated seconds until the requests that wait now are done."""
        return self._seconds_of(self._coming(self._places))

    @property
    def retry_after(self) -> int:
        """The Retry-After of a refusal: whole seconds, at least 1, and at most the deadline, rounded up."""
        return max(1, math.ceil(min(self.seconds_ahead, self._settings.deadline_seconds)))

    def room_for(self, sharer: str, count: int) -> bool:
        """Whether a place of `count` bytes would be given now, without taking one from another request."""
        return self._obstacle(sharer) is None and self._fits(count, self._held_by(sharer), self._bytes)

    def check(self, sharer: str) -> None:
        """Refuse if nothing more can wait.

        Raises
        ------
        Overloaded
        """
        while obstacle := self._obstacle(sharer):
            if obstacle[0] != "requests" or not (self._take_a_slow_place() or self._take_from_most(sharer)):
                self._refuse(*obstacle)

    @contextmanager
    def place(self, sharer: str) -> Iterator[Place]:
        """Hold a place.

        Raises
        ------
        Overloaded
        """
        self.check(sharer)
        place = Place(self, sharer)
        self._places.add(place)
        self._metrics.waiting.set(len(self._places))
        try:
            yield place
        finally:
            self._leave(place)

    def reserve(self, place: Place, total: int) -> None:
        """See ``Place.reserve``."""
        if place.taken:  # the request is ending, and holds nothing any more
            return
        if total > place.bytes:
            self.require_room_for(place, total)
        self._hold(place, total)

    def require_room_for(self, place: Place, total: int) -> None:
        """See ``Place.require_room_for``."""
        while others := self._bytes - place.bytes:
            if self._fits(total, self._held_by(place.sharer) - place.bytes, others):
                return
            if not self._take_a_slow_place(but=place):
                self._refuse("bytes", f"{self._bytes:,} bytes wait already")

    def _fits(self, count: int, own: int, others: int) -> bool:
        """Whether `count` bytes fit beside the caller's `own` other bytes, and the `others` of all callers, `own` included."""
        free = self._settings.max_waiting_bytes - others - count
        return free >= 0 and (own == 0 or own + count <= SHARE * free)

    def _held_by(self, sharer: str) -> int:
        return sum(place.bytes for place in self._places if place.sharer == sharer)

    def _hold(self, place: Place, total: int) -> None:
        self._bytes += total - place.bytes
        place.bytes = total
        self._metrics.waiting_bytes.set(self._bytes)

    def _leave(self, place: Place) -> None:
        self._places.discard(place)
        self._metrics.waiting.set(len(self._places))
        self._hold(place, 0)

    def _take_a_slow_place(self, but: Place | None = None) -> bool:
        """Take the place that is furthest behind the least rate; False if all keep pace."""
        furthest = max(
            (place for place in self._places if place is not but), key=lambda place: place.behind, default=None
        )
        if furthest is None or not furthest.behind:
            return False
        self._take(furthest, _TOO_SLOW)
        return True

    def _take_from_most(self, sharer: str) -> bool:
        """If every place is held, take one from the caller who holds most, unless it would then hold fewer than `sharer`.

        The place that was given first is taken: a caller who sends at a good pace holds a place for a moment only. `sharer` gets
        no more places this way than it may have while one place is free.
        """
        held = Counter(place.sharer for place in self._places)
        if len(self._places) < self._settings.max_waiting or held[sharer] >= SHARE:
            return False
        awaited = {place for place in self._places if place.awaited and held[place.sharer] > held[sharer] + 1}
        if not awaited:
            return False
        most = max(held[place.sharer] for place in awaited)
        self._take(min((p for p in awaited if held[p.sharer] == most), key=lambda place: place.began), _TOO_MANY)
        return True

    def _take(self, place: Place, why: str) -> None:
        place.take(why)
        self._leave(place)
        self._metrics.places_taken.inc()

    def _obstacle(self, sharer: str) -> tuple[str, str] | None:
        """Why there is no further place, for the metrics and for people. An empty service has one, whatever it measured."""
        if not self._places:
            return None
        free = self._settings.max_waiting - len(self._places)
        if free <= 0:
            return "requests", f"{len(self._places)} requests wait already"
        own = [place for place in self._places if place.sharer == sharer]
        if own and len(own) + 1 > SHARE * free:
            return (
                "requests",
                f"{len(own)} requests of the caller wait already, and the other places are kept for other callers",
            )
        usable = USABLE_SHARE * self._settings.deadline_seconds
        ahead = self.seconds_ahead
        if ahead > usable:
            return "wait", "the requests that wait already take longer than the deadline allows"
        if own and ahead * self._coming(own) > SHARE * (usable - ahead) * self._coming(self._places):
            return "wait", "the caller's waiting requests already take all the time that one caller may have"
        return None

    @staticmethod
    def _coming(places: Collection[Place]) -> int:
        """How many places count as work: a place whose body is behind the least rate does not."""
        return sum(not place.behind for place in places)

    def _refuse(self, reason: str, detail: str) -> None:
        self._metrics.admissions_refused.labels(reason).inc()
        raise Overloaded(f"{detail}; try again in {self.retry_after} s", self.retry_after)
