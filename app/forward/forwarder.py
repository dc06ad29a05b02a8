"""The loop: follow the changes, several films in flight, the checkpoint behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import asdict, dataclass
from functools import partial

from app.tracing import Tracing

from .checkpoint import Checkpoint, Progress
from .errors import Fault, Passing, Stopping
from .metrics import ForwardMetrics
from .orthanc import NEW_INSTANCE, Change, Orthanc
from .retry import Retry, wait
from .service import Refusal, Service

log = logging.getLogger("cxr_forward")


@dataclass(frozen=True)
class Options:
    """How to follow; ``start`` counts only where there is no checkpoint yet."""

    modalities: frozenset[str]
    start: str  # beginning, now, or the number of a change
    in_flight: int
    poll_seconds: float


class Forwarder:
    """One Orthanc, one service, one checkpoint."""

    def __init__(
        self,
        orthanc: Orthanc,
        service: Service,
        checkpoint: Checkpoint,
        options: Options,
        metrics: ForwardMetrics,
        tracing: Tracing,
    ) -> None:
        self._orthanc = orthanc
        self._service = service
        self._checkpoint = checkpoint
        self._options = options
        self._metrics = metrics
        self._tracing = tracing

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

    async def _handle(self, change: Change, retry: Retry, slots: asyncio.Semaphore) -> None:
        try:
            with self._tracing.root("forward"), self._metrics.in_flight.track_inprogress():
                outcome = await self._forward(change, retry)
        except Stopping:
            return  # it stays in hand, so that the checkpoint stays before it
        except Fault as error:
            outcome = "failed"
            log.error("passed over: no attempt succeeded", extra={"change": change.sequence, "error": str(error)})
        finally:
            slots.release()
        self._metrics.instances.labels(outcome).inc()
        self._progress.finish(change.sequence)
        self._save()

    async def _forward(self, change: Change, retry: Retry) -> str:
        """Put the report of one film into Orthanc; returns the outcome, as the metrics name it."""
        modality = await retry(partial(self._orthanc.modality, change.resource))
        if modality not in self._options.modalities:  # reports, which are SR, too
            return "skipped"
        film = await retry(partial(self._orthanc.film, change.resource))
        if film is None:
            return "gone"
        answer = await retry(partial(self._service.score, film))
        if isinstance(answer, Refusal):
            self._metrics.refusals.labels(str(answer.status), answer.reason).inc()
            log.warning("refused by the service", extra={"change": change.sequence, **asdict(answer)})
            return "refused"
        new = await retry(partial(self._orthanc.store, answer.content))
        self._metrics.last_success.set_to_current_time()
        log.info("report stored", extra={"change": change.sequence, "accepted": answer.accepted, "new": new})
        return "stored" if new else "already_stored"

    def _save(self) -> None:
        """Move the checkpoint; the file is small, and the loop can wait for the disk."""
        if self._progress.settled != self._checkpoint.last:
            self._checkpoint.save(self._progress.settled)
            self._metrics.checkpoint.set(self._progress.settled)

    def _notice(self, error: Passing | Fault, delay: float) -> None:
        self._metrics.retries.inc()
        log.warning("trying again", extra={"error": str(error), "in_seconds": round(delay, 1)})
