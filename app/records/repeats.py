"""Answers the same instance with the same pixels, under the same model, from the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.pipeline import Verdict

from .entries import DecisionSubject
from .record import Record, RecordUnavailable

log = logging.getLogger("cxr_gate")


@dataclass
class _SubjectLock:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Repeats:
    """Finds subjects that the record knows, and lets each other one be judged once; belongs to one event loop.

    Parameters
    ----------
    record : Record
    optional : bool
        True: if the record does not answer, the film is judged.
    """

    def __init__(self, record: Record, *, optional: bool = False) -> None:
        self._record = record
        self._optional = optional
        self._turns: dict[DecisionSubject, _SubjectLock] = {}

    @asynccontextmanager
    async def turn(self, subject: DecisionSubject) -> AsyncIterator[Verdict | None]:
        """Take a turn at a subject; yields its verdict from the record. If that is None, judge and write within the turn.

        Later callers wait. If the first fails or is cancelled, the next takes its turn.

        Raises
        ------
        RecordUnavailable
        """
        turn = self._turns.setdefault(subject, _SubjectLock())
        turn.users += 1
        try:
            async with turn.lock:
                yield await asyncio.to_thread(self._find, subject)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[subject]

    def _find(self, subject: DecisionSubject) -> Verdict | None:
        try:
            return self._record.find(subject)
        except RecordUnavailable as error:
            if not self._optional:
                raise
            log.warning("judged without a look into the record", extra={"error": str(error)})
            return None

    def film_of(self, subject: DecisionSubject) -> str | None:
        """Id of the film that was kept last for a subject; None also if an optional record does not answer.

        Raises
        ------
        RecordUnavailable
        """
        try:
            return self._record.film_of(subject)
        except RecordUnavailable:
            if not self._optional:
                raise
            return None
