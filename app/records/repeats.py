"""The same instance with the same pixels, under the same model, is answered from the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.pipeline import Verdict

from .entries import DecisionSubject, Recalled
from .record import Record, RecordUnavailable

log = logging.getLogger("cxr_gate")


@dataclass
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Repeats:
    """Judges what the record does not know; belongs to one event loop.

    Parameters
    ----------
    record : Record
    optional : bool
        Where the record does not answer, judge.
    """

    def __init__(self, record: Record, *, optional: bool = False) -> None:
        self._record = record
        self._optional = optional
        self._turns: dict[DecisionSubject, _Turn] = {}

    async def verdict(
        self,
        subject: DecisionSubject,
        judge: Callable[[], Awaitable[Verdict]],
        keep: Callable[[Verdict], Awaitable[Recalled]],
    ) -> Recalled:
        """Find the verdict or make it, and keep it; the same subject at the same moment is judged once.

        Those that came later wait for the first, and if it fails or is cancelled the next takes its turn.

        Raises
        ------
        RecordUnavailable
            And whatever `judge` and `keep` raise.
        """
        async with self._turn(subject):
            known = await asyncio.to_thread(self._find, subject)
            return await keep(await judge() if known is None else known)

    def _find(self, subject: DecisionSubject) -> Verdict | None:
        try:
            return self._record.find(subject)
        except RecordUnavailable as error:
            if not self._optional:
                raise
            log.warning("judged without a look into the record", extra={"error": str(error)})
            return None

    def film_of(self, subject: DecisionSubject) -> str | None:
        """Id of the film that was kept last for a subject; None too where an optional record does not answer.

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

    @asynccontextmanager
    async def _turn(self, subject: DecisionSubject) -> AsyncIterator[None]:
        turn = self._turns.setdefault(subject, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[subject]
