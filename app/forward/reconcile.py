"""Find the films in Orthanc that its log of changes did not name."""

from __future__ import annotations

import logging
import random
import time
from functools import partial
from typing import Final

from .books import Books
from .errors import Misconfigured
from .metrics import ForwardMetrics
from .orthanc import DROPS_QUERIES, Orthanc
from .retry import Retry

log = logging.getLogger("cxr_forward")

#: Seconds: if the log lost entries, Orthanc's instances are listed no more often than this.
GAP_SECONDS: Final = 600.0
#: Pages of a listing in a row that bring nothing new. Instances that arrive meanwhile move others to the next page,
#: but only a few at a time.
MOST_WITHOUT_NEWS: Final = 10
#: Instances that one listing finds; the next listing, which follows at once, finds the rest.
MOST_FOUND: Final = 10_000


class Reconciliation:
    """Compares the instances of Orthanc with the books: at the start, now and then, and when the log has changed."""

    def __init__(self, orthanc: Orthanc, books: Books, seconds: float, metrics: ForwardMetrics) -> None:
        self._orthanc = orthanc
        self._books = books
        self._seconds = seconds
        self._metrics = metrics
        self._last = 0.0  # time.monotonic(), of the last listing
        self._began = 0.0
        self._thorough = 0

    async def take_in(self, retry: Retry) -> None:
        """Count all instances in Orthanc as finished: an earlier version handled them, or the operator chose a start
        that leaves them out.

        Raises
        ------
        Stopping, Fault, Misconfigured
        """
        await self._list(retry)
        self._books.add(self._books.missing(thorough=False, most=-1), time.time())

    def gap(self) -> None:
        """The log has lost entries, so a listing is due soon."""
        ago = time.monotonic() - self._last if self._last else GAP_SECONDS
        self._books.hasten(time.time() + max(0.0, GAP_SECONDS - ago))

    def is_due(self) -> bool:
        """Whether to look now."""
        return self._books.is_due(time.time(), max(self._seconds, GAP_SECONDS))

    async def look(self, retry: Retry) -> None:
        """List what Orthanc has.

        Raises
        ------
        Stopping, Fault, Misconfigured
        """
        self._began, self._last = time.time(), time.monotonic()
        self._thorough = self._books.begin(self._began + self._seconds * random.uniform(0.9, 1.0))
        await self._list(retry)

    def found(self) -> list[str]:
        """The listed instances that are not finished or, if Orthanc was restored, whose report is gone."""
        found = self._books.missing(self._thorough > 0, MOST_FOUND)
        if found:
            self._metrics.found.inc(len(found))
            self._metrics.log_lost.set_to_current_time()
            log.warning("Orthanc has instances that its log of changes did not name", extra={"instances": len(found)})
        return found

    def finish(self, found: int) -> None:
        """All instances that were found are finished."""
        self._books.forget_gone(self._began)
        if found == MOST_FOUND:
            self._books.hasten(0.0)  # there may be more
        else:
            self._books.end(self._thorough)

    async def _list(self, retry: Retry) -> None:
        self._books.begin_listing()
        offset = nothing_new = 0
        while names := await retry(partial(self._orthanc.instances, offset)):
            nothing_new = 0 if self._books.enter(names) else nothing_new + 1
            if nothing_new == MOST_WITHOUT_NEWS:
                raise Misconfigured(f"Orthanc lists the same instances again and again; {DROPS_QUERIES}")
            offset += len(names)
