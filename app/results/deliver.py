"""Reports -> a DICOMweb server: sent at least once, and shown only once.

    outbox -> Schedule: which is due? -> DicomwebServer -> out of the outbox

A report that fails waits by itself, longer each time, and the others go on. If several fail in a row because the
server is away, the pause between two attempts grows too, and after it the report that is due next is tried.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from app.metrics import Metrics
from app.supervised import SupervisedThread
from app.tracing import Trace, here, resumed, span

from .dicomweb import ANSWER_SECONDS, DeliveryFailed, DicomwebServer
from .outbox import Outbox
from .schedule import Schedule

log = logging.getLogger("cxr_gate")

#: Seconds between two attempts while the server is away.
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
_MOST_TRACES: Final = 10_000


class Delivery:
    """One thread that empties the outbox, for as long as the server needs; ``start`` before use, ``stop`` after."""

    def __init__(self, outbox: Outbox, server: DicomwebServer, metrics: Metrics) -> None:
        self._outbox = outbox
        self._server = server
        self._metrics = metrics
        #: The request of each report, by UID. This is only in memory, so a report is delivered without it after a restart.
        self._traces: dict[str, Trace | None] = {}
        self._schedule = Schedule()
        self._pause = FIRST_PAUSE_SECONDS
        self._failed_last: str | None = None  # for that reason, since the server's last good answer
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = SupervisedThread("delivery", self._run, self._stopping, metrics)
        metrics.results_waiting.set_function(lambda: len(self._schedule))
        metrics.results_oldest.set_function(lambda: self._schedule.oldest(time.monotonic()))

    def start(self) -> None:
        """Begin with the reports that an earlier run left."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present attempt; waiting reports are kept for the next start."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout=ANSWER_SECONDS)

    def put(self, uid: str, report: bytes) -> None:
        """Take a report over; when this returns, a crash does not lose it.

        Raises
        ------
        OSError
            It could not be written to the outbox.
        """
        if len(self._traces) < _MOST_TRACES:
            self._traces[uid] = here()
        self._outbox.put(uid, report)
        self._schedule.add(uid, time.monotonic())
        self._news.set()

    def _run(self) -> None:
        now = time.monotonic()
        for uid, seconds in self._outbox.waiting():
            self._schedule.add(uid, now - seconds)
        while not self._stopping.is_set():
            self._news.clear()
            due, seconds_left = self._schedule.next(time.monotonic())
            if due is None:
                self._news.wait(seconds_left)
            elif self._attempt(due):
                self._pause, self._failed_last = FIRST_PAUSE_SECONDS, None
            elif self._failed_last in {None, due}:
                self._failed_last = due  # a single failure says little: only this report may meet this answer
            else:
                self._failed_last = due
                self._stopping.wait(
                    self._pause
                )  # a new report does not shorten the pause, since all go to the same server
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _attempt(self, uid: str) -> bool:
        """Try a report once; False if the server is away."""
        away, asked, error = False, 0.0, ""
        try:
            self._deliver(uid)
        except DeliveryFailed as failed:
            away, asked, error = failed.away, failed.retry_after, str(failed)
        except FileNotFoundError:
            log.info("a report no longer waits: it was replaced while it was delivered, or taken out")
            self._schedule.done(uid)
            return True
        except Exception as fault:  # an error of any kind concerns this report, and the others go on
            error = type(fault).__name__
        else:
            if self._pause > FIRST_PAUSE_SECONDS:  # several failed before it
                self._schedule.hurry(time.monotonic())
            return True
        self._schedule.failed(uid, time.monotonic(), asked, away=away)
        self._metrics.result_failures.inc()
        log.warning("a report was not delivered and will be tried again", extra={"reason": error})
        return not away

    def _deliver(self, uid: str) -> None:
        report = self._outbox.read(uid)
        try:
            with resumed(self._traces.get(uid)), span("deliver", "client"):
                delivered = self._server.deliver(report)
        except DeliveryFailed as failed:
            self._keep_others(uid, failed.others)
            raise
        outcome = delivered.outcome
        self._keep_others(uid, delivered.others)
        # Off the schedule first: the same report may be put again meanwhile, and must then be scheduled.
        self._schedule.done(uid)
        try:
            if outcome == "refused":
                log.error("a report was refused by the DICOMweb server", extra={"request": self._of(uid)})
                self._outbox.refuse(uid)
            else:
                self._outbox.done(uid)
        except OSError:
            self._schedule.add(uid, time.monotonic())
            raise
        self._traces.pop(uid, None)
        self._metrics.results.labels(outcome).inc()

    def _keep_others(self, uid: str, others: tuple[bytes, ...]) -> None:
        for number, other in enumerate(others):
            self._metrics.result_conflicts.inc()
            log.error("the DICOMweb server has another report under a report's UID", extra={"request": self._of(uid)})
            self._outbox.keep_other(uid, number, other)

    def _of(self, uid: str) -> str:
        """The request of a report, for the log; none after a restart."""
        trace = self._traces.get(uid)
        return (trace.request_id if trace else None) or "none"
