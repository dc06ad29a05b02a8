"""The loop: follow the changes with several films in flight, move the checkpoint behind them, and try films set aside again."""

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

from .aside import Aside, FilmSetAside
from .books import Books
from .checkpoint import Checkpoint, Progress
from .errors import Fault, Misconfigured, Passing, Stopping, TooLarge
from .history import Anchor, lineage, surviving
from .metrics import ForwardMetrics
from .orthanc import NEW_INSTANCE, Change, Orthanc, Page
from .placing import place
from .reconcile import Reconciliation
from .retry import Retry, wait
from .service import Refusal, Report, Service

log = logging.getLogger("cxr_forward")

#: Seconds after which a film that was set aside is tried again; then after twice as long, up to an hour.
POSTPONED_SECONDS: Final = 60.0
MOST_POSTPONED_SECONDS: Final = 3600.0
#: Status and reason of a film that is not fetched, as the service would give them.
TOO_LARGE: Final = Refusal(413, "body-too-large", "none")


@dataclass(frozen=True)
class ForwardOptions:
    """How to follow; ``start`` counts only if there is no checkpoint yet.

    ``give_up_seconds`` is the time from a film's first failure to its last try. The newest ``keep_given_up`` films
    that were given up on stay listed. ``reconcile_seconds`` lie between two listings of what Orthanc has.
    """

    modalities: frozenset[str]
    start: str  # beginning, now, or the number of a change
    in_flight: int
    poll_seconds: float
    give_up_seconds: float
    keep_given_up: int
    reconcile_seconds: float = 6 * 3600.0


class Forwarder:
    """Follows one Orthanc for one service: with a checkpoint, the films set aside, and the books of finished ones."""

    def __init__(
        self,
        orthanc: Orthanc,
        service: Service,
        checkpoint: Checkpoint,
        aside: Aside,
        books: Books,
        options: ForwardOptions,
        metrics: ForwardMetrics,
        tracing: Tracing,
    ) -> None:
        self._orthanc = orthanc
        self._service = service
        self._checkpoint = checkpoint
        self._aside = aside
        self._books = books
        self._reconciliation = Reconciliation(orthanc, books, options.reconcile_seconds, metrics)
        self._options = options
        self._metrics = metrics
        self._tracing = tracing
        self._taken_up: set[str] = set()  # of those set aside, by Orthanc's names
        self._ends = 0  # how often all of the log was read
        self._end = 0  # the newest change then
        self._gap_before = 0  # the newest change where the log was found cleared

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop` is set. Films that are being worked on then are finished, unless they wait for another try.

        Raises
        ------
        Fault, Misconfigured
            By itself, or in an ExceptionGroup.
        """
        retry = Retry(stop, self._notice)
        try:
            since = await retry(self._start)
            if not self._books.complete:
                await self._reconciliation.take_in(retry)
                self._books.completed()
            self._books.hasten(0.0)  # Orthanc may have changed in the meantime
        except Stopping:
            return
        self._progress = Progress(since, self._checkpoint.anchors)
        log.info("following", extra={"after_change": since})
        slots = asyncio.Semaphore(self._options.in_flight)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(stop))
            tasks.create_task(self._take_up(stop, slots, tasks))
            tasks.create_task(self._reconcile(stop, slots, retry))
            while not stop.is_set():
                try:
                    page = await retry(partial(self._read, since))
                    if page is None:
                        since = await retry(self._begin_anew)
                        continue
                except Stopping:
                    return
                self._metrics.last_success.set_to_current_time()
                for change in page.changes:
                    if change.kind == NEW_INSTANCE:
                        await slots.acquire()
                    if stop.is_set():
                        return
                    since = change.sequence
                    self._progress.begin(since, Anchor.of(change))
                    if change.kind == NEW_INSTANCE:
                        tasks.create_task(self._handle(change, self._progress, retry, slots))
                    else:
                        self._progress.finish(since)
                self._save()
                if page.done:
                    self._ends, self._end = self._ends + 1, since
                    await wait(stop, self._options.poll_seconds)

    async def _read(self, since: int) -> Page | None:
        """The changes after `since`; None if the log is no longer the one that was read until now.

        Raises
        ------
        Misconfigured
            By all signs it is the log of another Orthanc.
        """
        newest = self._progress.newest
        before = newest.sequence - 1 if newest else since
        page = await self._orthanc.changes(before)
        first = page.changes[0] if page.changes else None
        if page.last < since or (newest and first and first.sequence == newest.sequence and Anchor.of(first) != newest):
            known = await lineage(self._progress.all_anchors(), self._orthanc.changes)
            if known != "restored":
                raise Misconfigured(
                    f"the state file stands at change {since}, and Orthanc's log of changes is another one (its newest is "
                    f"{page.last}): its database is another one, or an old backup of it. Move the state file and the files "
                    "beside it away, and start with --start beginning (films that have a report keep it) or --start now"
                )
            return None
        changes = tuple(change for change in page.changes if change.sequence > since)
        if changes[0].sequence > since + 1 if changes else page.done and page.last > max(since, self._gap_before):
            self._gap_before = page.last
            self._reconciliation.gap()
        return Page(changes, page.done, page.last)

    async def _begin_anew(self) -> int:
        """Orthanc was restored from a backup: follow its log from its end, and look for films without a report."""
        last = await self._orthanc.last_change()
        page = await self._orthanc.changes(last - 1)
        known = await surviving(self._progress.all_anchors(), self._orthanc.changes)
        known += [Anchor.of(change) for change in page.changes if change.sequence == last]
        self._books.require_thorough()  # before the checkpoint moves, so that a crash loses neither
        self._progress = Progress(last, known)
        self._metrics.restored.inc()
        self._metrics.log_lost.set_to_current_time()
        log.error(
            "Orthanc's log of changes is not what it was: Orthanc was restored from a backup. The forwarder "
            "compares its films with those that had a report",
            extra={"after_change": last},
        )
        self._checkpoint.save(last, known)
        return last

    async def _reconcile(self, stop: asyncio.Event, slots: asyncio.Semaphore, retry: Retry) -> None:
        """Forward films that the log did not name: at the start, now and then, and when the log has a gap."""
        while not await wait(stop, self._options.poll_seconds):
            if not self._reconciliation.is_due():
                continue
            try:
                progress = self._progress
                await self._reconciliation.look(retry)
                if not await self._told(progress, stop):
                    continue
                found = self._reconciliation.found()
                async with asyncio.TaskGroup() as tasks:
                    for instance in found:
                        await slots.acquire()
                        if stop.is_set():
                            return
                        tasks.create_task(self._handle_found(instance, retry, slots))
                if stop.is_set():
                    return
                self._reconciliation.finish(len(found))
            except Stopping:
                return

    async def _told(self, progress: Progress, stop: asyncio.Event) -> bool:
        """Wait until all changes that the log names now are finished. False if it became another log, or the "
        "forwarder is to stop."""
        ends = self._ends + 2  # one page may be on its way that was requested before
        while self._ends < ends or progress.settled < self._end:
            if await wait(stop, self._options.poll_seconds) or progress is not self._progress:
                return False
        return progress is self._progress

    async def _handle_found(self, instance: str, retry: Retry, slots: asyncio.Semaphore) -> None:
        try:
            await self._attend(0, instance, retry)
        except Stopping:
            pass  # the next listing finds it again
        finally:
            slots.release()

    async def _watch(self, stop: asyncio.Event) -> None:
        """Measure the backlog, even while films that must be tried again hold every slot."""
        while not await wait(stop, self._options.poll_seconds):
            self._measure_aside()  # a command may have changed it
            with contextlib.suppress(Passing, Fault):  # those who follow the changes see these too
                newest = await self._orthanc.last_change()
                self._metrics.backlog.set(newest - self._progress.settled)

    async def _start(self) -> int:
        """The change to begin after. It is saved at once, so that a crash cannot move a start from now."""
        last = self._checkpoint.last
        if last is None:
            start = self._options.start
            last = await self._orthanc.last_change() if start == "now" else 0 if start == "beginning" else int(start)
            self._books.completed(start == "beginning")
            self._checkpoint.save(last)
        self._metrics.checkpoint.set(last)
        return last

    async def _take_up(self, stop: asyncio.Event, slots: asyncio.Semaphore, tasks: asyncio.TaskGroup) -> None:
        """Try the films set aside when they are due: once each time, so that they take little time from new films."""
        once = Retry(stop, self._notice, fault_attempts=1)
        self._trim()  # the limit may have changed since the last run
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

    async def _handle(self, change: Change, progress: Progress, retry: Retry, slots: asyncio.Semaphore) -> None:
        try:
            await self._attend(change.sequence, change.resource, retry)
        except Stopping:
            return  # it stays unfinished, so that the checkpoint stays before it
        finally:
            slots.release()
        progress.finish(change.sequence)  # the log from which it was read
        self._save()

    async def _handle_again(self, film: FilmSetAside, once: Retry, slots: asyncio.Semaphore) -> None:
        try:
            await self._attend(film.change, film.instance, once)
        except Stopping:
            pass  # it stays due
        finally:
            self._taken_up.remove(film.instance)
            slots.release()

    async def _attend(self, change: int, instance: str, retry: Retry) -> None:
        """Finish one film, or set it aside; either is on the disk when this returns.

        Raises
        ------
        Stopping, Misconfigured
        """
        outcome: str | None
        report: str | None = None
        try:
            with self._tracing.root("forward"), self._metrics.in_flight.track_inprogress():
                outcome, report = await self._forward(change, instance, retry)
        except Fault as fault:
            outcome = self._postpone(change, instance, fault)
        else:
            if outcome != "refused":
                self._aside.remove(instance)
        self._books.add([instance], time.time(), report)
        if outcome:
            self._metrics.instances.labels(outcome).inc()
        self._measure_aside()

    async def _forward(self, change: int, instance: str, retry: Retry) -> tuple[str, str | None]:
        """Put the report of one film into Orthanc. Returns the outcome, by its name in the metrics, and "
        "Orthanc's name of the report."""
        modality = await retry(partial(self._orthanc.modality, instance))
        if modality not in self._options.modalities:  # reports, which are SR, too
            return "skipped", None
        answer: Report | Refusal
        try:
            film = await retry(partial(self._orthanc.film, instance))
        except TooLarge:
            answer = TOO_LARGE
        else:
            if film is None:
                return "gone", None
            answer = await retry(partial(self._service.score, film))
        if isinstance(answer, Refusal):
            self._metrics.refusals.labels(str(answer.status), answer.reason).inc()
            log.warning("refused by the service", extra={"change": change, **asdict(answer)})
            self._give_up(change, instance, answer)
            return "refused", None
        stored = await retry(partial(place, self._orthanc, answer.content))
        if stored.conflict:
            self._metrics.conflicts.inc()
            log.error("Orthanc has another report under a report's UID", extra={"change": change})
        self._metrics.last_success.set_to_current_time()
        log.info("report stored", extra={"change": change, "accepted": answer.accepted, "new": stored.new})
        return "stored" if stored.new else "already_stored", stored.instance

    def _postpone(self, change: int, instance: str, fault: Fault) -> str | None:
        """Set a failed film aside; returns its outcome if it has failed for too long."""
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
            FilmSetAside(
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
            FilmSetAside(instance, change, first, now, tries + 1, why.status, why.reason, why.request_id, next_try=None)
        )
        self._metrics.given_up.labels(why.reason).inc()
        self._trim()

    def _trim(self) -> None:
        """Keep the list of films given up on within its limit. The log, which has its own rotation, names those that leave it."""
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
            self._checkpoint.save(self._progress.settled, self._progress.anchors())
            self._metrics.checkpoint.set(self._progress.settled)

    def _notice(self, error: Passing | Fault, delay: float) -> None:
        self._metrics.retries.inc()
        log.warning("trying again", extra={"error": str(error), "in_seconds": round(delay, 1)})


def postponed_seconds(tries: int) -> float:
    """Seconds that a film waits that was set aside so often before, minus up to a half, so that many do not return at once."""
    return min(MOST_POSTPONED_SECONDS, POSTPONED_SECONDS * 2.0 ** min(tries, 30)) * random.uniform(0.5, 1.0)
