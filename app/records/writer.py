"""Entries of many requests -> few transactions: the entries that wait during one commit go into the next together."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from app.metrics import Metrics
from app.supervised import SupervisedThread
from app.tracing import span

from .entries import Decision, Entry, FilmEvent, Recalled, VersionEvent
from .record import REMOVED_AT_ONCE, Record, RecordUnavailable

log = logging.getLogger("cxr_gate")

_MOST_AT_ONCE: Final = 256
_RETENTION_SECONDS: Final = 3_600.0
#: Pause after a part of a large backlog, so that decisions are written between.
_BACKLOG_SECONDS: Final = 1.0

_Item = tuple[Sequence[Entry], "Future[list[Recalled | None]]"]


class Writer:
    """The one thread that writes a record; ``start`` before use, ``stop`` after.

    Parameters
    ----------
    record : Record
    metrics : Metrics
    optional : bool
        A decision that cannot be written is answered all the same.
    days : int
        Older entries are removed; 0 keeps everything.
    """

    def __init__(self, record: Record, metrics: Metrics, *, optional: bool = False, days: int = 0) -> None:
        self._record = record
        self._metrics = metrics
        self._optional = optional
        self._days = days
        metrics.record_days.set(days)
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        # Its stop event is never set: the thread ends only when nothing waits, and other errors must cost no entries.
        self._thread = SupervisedThread("record", self._run, threading.Event(), metrics)

    def start(self) -> None:
        """Begin to write, and log the record's head: the log is a witness of it.

        Raises
        ------
        RecordUnavailable
        """
        self._log_head("the record is opened")
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
            try:
                self._log_head("the record is closed")
            except RecordUnavailable as error:
                log.warning("the record's head is not known", extra={"error": str(error)})

    async def keep(self, decision: Decision) -> Recalled:
        """Write a decision. On return it is durable, and the returned verdict may be answered.

        Raises
        ------
        RecordUnavailable
            Nothing may be answered. Never raised if the record is optional.
        """
        try:
            (recalled,) = await self._written([decision])
        except RecordUnavailable:
            if not self._optional:
                raise
            log.warning("answered without an entry in the record", extra={"request_id": decision.request_id})
            return Recalled(decision.verdict, from_record=False)
        assert recalled is not None
        return recalled

    async def note(self, *events: FilmEvent) -> None:
        """Write events of films, all of them or none; durable on return.

        Raises
        ------
        RecordUnavailable
            The events must not take effect. Raised even if the record is optional: that is for answers to senders alone.
        """
        await self._written(events)

    def note_version(self, event: VersionEvent) -> None:
        """Write an action on a version before it is done, and wait until it is written; not for the event loop's thread.

        Raises
        ------
        RecordUnavailable
            The action must not be done. Raised even if the record is optional.
        """
        try:
            self._put([event]).result()
        except RecordUnavailable:
            self._metrics.record_failures.inc()
            raise

    async def _written(self, items: Sequence[Entry]) -> list[Recalled | None]:
        try:
            with span("record"):
                return await asyncio.wrap_future(self._put(items))
        except RecordUnavailable:
            self._metrics.record_failures.inc(len(items))
            raise

    def _put(self, items: Sequence[Entry]) -> Future[list[Recalled | None]]:
        result: Future[list[Recalled | None]] = Future()
        self._waiting.put((items, result))
        return result

    def _run(self) -> None:
        retention = time.monotonic()
        item: _Item | None
        while True:
            if self._days and time.monotonic() >= retention:
                retention = time.monotonic() + self._remove_older()
            try:
                item = self._waiting.get(timeout=max(retention - time.monotonic(), 0) if self._days else None)
            except queue.Empty:
                continue
            batch: list[_Item] = []
            while item is not None:
                batch.append(item)
                if len(batch) == _MOST_AT_ONCE:
                    break
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
            self._write(batch)
            if item is None:
                return

    def _write(self, batch: list[_Item]) -> None:
        if not batch:
            return
        # A decision is written even if its caller has left (False) and gets no answer.
        waiting = [result.set_running_or_notify_cancel() for _, result in batch]
        try:
            with self._metrics.stage_seconds.labels("record").time():
                answers, head = self._record.write([item for items, _ in batch for item in items])
        except Exception as error:  # the thread must live on
            # This thread serves no request, so the line would name none by itself.
            requests = [item.request_id for items, _ in batch for item in items if item.request_id]
            unavailable = _unavailable(error)
            log.error("the record was not written", extra={"error": str(unavailable), "request_ids": requests})
            for (_, result), waits in zip(batch, waiting, strict=True):
                if waits:
                    result.set_exception(unavailable)
        else:
            self._metrics.record_head.set(head.id)
            for (items, result), waits in zip(batch, waiting, strict=True):
                its, answers = answers[: len(items)], answers[len(items) :]
                if waits:
                    result.set_result(its)

    def _remove_older(self) -> float:
        """Remove old entries; returns the seconds until the next turn."""
        try:
            removed = self._record.remove_older(self._days)
            oldest = self._record.oldest()
        except Exception as error:  # the thread must live on
            log.error("old entries were not removed", extra={"error": str(_unavailable(error))})
            return _RETENTION_SECONDS
        self._metrics.record_oldest.set(oldest.timestamp() if oldest else 0)
        if removed:
            log.info("old entries were removed from the record", extra={"entries": removed})
        return _BACKLOG_SECONDS if removed == REMOVED_AT_ONCE else _RETENTION_SECONDS

    def _log_head(self, message: str) -> None:
        log.info(message, extra={"head": str(self._record.head())})


def _unavailable(error: Exception) -> RecordUnavailable:
    """The error in a form that may be shown: the text of another library's error may quote the entry."""
    if isinstance(error, RecordUnavailable):
        return error
    return RecordUnavailable(f"the record of decisions failed ({type(error).__name__}); try again shortly")
