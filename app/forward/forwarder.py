"""The loop: follow the changes, several films in flight, the checkpoint behind them; and take up what was set aside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

from app.tracing import Tracing

from .aside import Aside, Film
from .checkpoint import Checkpoint, Progress
from .errors import Fault, Passing, Stopping
from .metrics import ForwardMetrics
from .orthanc import NEW_INSTANCE, Change, Orthanc
from .retry import Retry, wait
from .service import Refusal, Service

log = logging.getLogger("cxr_forward")

#: A film that is set aside is tried again after this, then after twice as long, up to an hour.
POSTPONED_SECONDS: Final = 60.0
MOST_POSTPONED_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Options:
    """How to follow; ``start`` counts only where there is no checkpoint yet.

    ``give_up_seconds`` is the time from a film's first failure to its last try. Of the films that are given up on the newest
    ``keep_given_up`` are listed.
    """

    modalities: frozenset[str]
    start: str  # beginning, now, or the number of a change
    in_flight: int
    poll_seconds: float
    give_up_seconds: float
    keep_given_up: int


class Forwarder:
    """One Orthanc, one service, one checkpoint, and the films that are set aside."""

    def __init__(
        self,
        orthanc: Orthanc,
        service: Service,
        checkpoint: Checkpoint,
        aside: Aside,
        options: Options,
        metrics: ForwardMetrics,
        tracing: Tracing,
    ) -> None:
        self._orthanc = orthanc
        self._service = service
        self._checkpoint = checkpoint
        self._aside = aside
        self._options = options
        self._metrics = metrics
        self._tracing = tracing
        self._taken_up: set[str] = set()  # of those set aside, by Orthanc's names

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop` is set; what is in hand then is finished, unless it waits to be tried again.

        Raises
        ------
        Fault, Misconfigured
            Alone, or in an ExceptionGroup.
        """
        retry = Retry(stop, self._notice)
        try:
            since = await retry(self._start)
        except Stopping:
            return
        self._progress = Progress(since)
        log.info("following", extra={"after_change": since})
        slots = asyncio.Semaphore(self._options.in_flight)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(stop))
            tasks.create_task(self._take_up(stop, slots, tasks))
            while not stop.is_set():
                try:
                    page = await retry(partial(self._orthanc.changes, since))
                except Stopping:
                    return
                self._metrics.last_success.set_to_current_time()
                for change in page.changes:
                    if change.kind == NEW_INSTANCE:
                        await slots.acquire()
                    if stop.is_set():
                        return
                    since = change.sequence
                    self._progress.begin(since)
                    if change.kind == NEW_INSTANCE:
                        tasks.create_task(self._handle(change, retry, slots))
                    else:
                        self._progress.finish(since)
                self._save()
                if page.done:
                    await wait(stop, self._options.poll_seconds)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Measure the backlog, also while every slot is held by a film that must be tried again."""
        while not await wait(stop, self._options.poll_seconds):
            self._measure_aside()  # a command may have changed it
            with contextlib.suppress(Passing, Fault):  # those who follow the changes see these too
                newest = await self._orthanc.last_change()
                self._metrics.backlog.set(newest - self._progress.settled)

    async def _start(self) -> int:
        """Where to begin; kept at once, so that a crash cannot move a start from now."""
        last = self._checkpoint.last
        if last is None:
            start = self._options.start
            last = await self._orthanc.last_change() if start == "now" else 0 if start == "beginning" else int(start)
            self._checkpoint.save(last)
        self._metrics.checkpoint.set(last)
        return last

    async def _take_up(self, stop: asyncio.Event, slots: asyncio.Semaphore, tasks: asyncio.TaskGroup) -> None:
        """Try the films that are set aside, when they are due: once each time, so that they take little from new films."""
        once = Retry(stop, self._notice, fault_attempts=1)
        self._trim()  # the limit may be a new one
        self._measure_aside()
        while True:
            for film in self._aside.due(time.time()):
                if film.instance in self._taken_up:
                    continue
                await slots.acquire()
                if stop.is_set():
                    return
                self._taken_up.add(film.instance)
                tasks.create_task(self._handle_again(film, once, slots))
            if await wait(stop, self._options.poll_seconds):
                return

    async def _handle(self, change: Change, retry: Retry, slots: asyncio.Semaphore) -> None:
        try:
            await self._attend(change.sequence, change.resource, retry)
        except Stopping:
            return  # it stays in hand, so that the checkpoint stays before it
        finally:
            slots.release()
        self._progress.finish(change.sequence)
        self._save()

    async def _handle_again(self, film: Film, once: Retry, slots: asyncio.Semaphore) -> None:
        try:
            await self._attend(film.change, film.instance, once)
        except Stopping:
            pass  # it stays due
        finally:
            self._taken_up.remove(film.instance)
            slots.release()

    async def _attend(self, change: int, instance: str, retry: Retry) -> None:
        """Bring one film to its end, or set it aside; whichever it was is on the disk after that.

        Raises
        ------
        Stopping, Misconfigured
        """
        outcome: str | None
        try:
            with self._tracing.root("forward"), self._metrics.in_flight.track_inprogress():
                outcome = await self._forward(change, instance, retry)
        except Fault as fault:
            outcome = self._postpone(change, instance, fault)
        else:
            if outcome != "refused":
                self._aside.remove(instance)
        if outcome:
            self._metrics.instances.labels(outcome).inc()
        self._measure_aside()

    async def _forward(self, change: int, instance: str, retry: Retry) -> str:
        """Put the report of one film into Orthanc; returns the outcome, as the metrics name it."""
        modality = await retry(partial(self._orthanc.modality, instance))
        if modality not in self._options.modalities:  # reports, which are SR, too
            return "skipped"
        film = await retry(partial(self._orthanc.film, instance))
        if film is None:
            return "gone"
        answer = await retry(partial(self._service.score, film))
        if isinstance(answer, Refusal):
            self._metrics.refusals.labels(str(answer.status), answer.reason).inc()
            log.warning("refused by the service", extra={"change": change, **asdict(answer)})
            self._give_up(change, instance, answer)
            return "refused"
        new = await retry(partial(self._orthanc.store, answer.content))
        self._metrics.last_success.set_to_current_time()
        log.info("report stored", extra={"change": change, "accepted": answer.accepted, "new": new})
        return "stored" if new else "already_stored"

    def _postpone(self, change: int, instance: str, fault: Fault) -> str | None:
        """Set a film aside that failed; returns its outcome if that was for too long."""
        now = time.time()
        known = self._aside.find(instance)
        first, tries = (known.first, known.tries) if known and known.next_try is not None else (now, 0)
        if now - first >= self._options.give_up_seconds:
            log.error("given up on, after the last of many attempts", extra={"change": change, "error": str(fault)})
            self._give_up(change, instance, fault)
            return "failed"
        delay = max(fault.retry_after, postponed_seconds(tries))
        log.warning(
            "set aside, to be tried again",
            extra={"change": change, "error": str(fault), "in_seconds": round(delay, 1)},
        )
        self._aside.put(
            Film(
                *(instance, change, first, now, tries + 1),
                *(fault.status, fault.reason, fault.request_id, now + delay),
            )
        )
        return None

    def _give_up(self, change: int, instance: str, why: Fault | Refusal) -> None:
        now = time.time()
        known = self._aside.find(instance)
        first, tries = (known.first, known.tries) if known else (now, 0)
        self._aside.put(
            Film(instance, change, first, now, tries + 1, why.status, why.reason, why.request_id, next_try=None)
        )
        self._metrics.given_up.labels(why.reason).inc()
        self._trim()

    def _trim(self) -> None:
        """Keep the list of films given up on in bounds. What leaves it is in the log, which has its own rotation."""
        for film in self._aside.trim(self._options.keep_given_up):
            self._metrics.given_up_dropped.inc()
            log.warning(
                "dropped from the list of films given up on, which is full",
                extra={"change": film.change, "status": film.status, "reason": film.reason},
            )

    def _measure_aside(self) -> None:
        waiting, given_up = self._aside.count()
        self._metrics.postponed_films.set(waiting)
        self._metrics.given_up_films.set(given_up)

    def _save(self) -> None:
        """Move the checkpoint; the file is small, and the loop can wait for the disk."""
        if self._progress.settled != self._checkpoint.last:
            self._checkpoint.save(self._progress.settled)
            self._metrics.checkpoint.set(self._progress.settled)

    def _notice(self, error: Passing | Fault, delay: float) -> None:
        self._metrics.retries.inc()
        log.warning("trying again", extra={"error": str(error), "in_seconds": round(delay, 1)})


def postponed_seconds(tries: int) -> float:
    """How long a film waits that was set aside so often before, less up to a half: many need not return at once."""
    return min(MOST_POSTPONED_SECONDS, POSTPONED_SECONDS * 2.0 ** min(tries, 30)) * random.uniform(0.5, 1.0)
