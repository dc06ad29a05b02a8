"""The same instance with the same pixels, under the same model, is answered from the record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.pipeline import DecodedImage, Verdict

from .record import Record, Subject


@dataclass(frozen=True)
class Recalled:
    """A verdict, and whether it was in the record already."""

    verdict: Verdict
    from_record: bool


@dataclass
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Repeats:
    """Judges what the record does not know; belongs to one event loop.

    Parameters
    ----------
    record : Record
    model_version : str
        Verdicts of other models are not taken for this one's.
    """

    def __init__(self, record: Record, model_version: str) -> None:
        self._record = record
        self._model_version = model_version
        self._turns: dict[Subject, _Turn] = {}

    async def verdict(
        self, instance_uid: str, image: DecodedImage, request_id: str, judge: Callable[[], Awaitable[Verdict]]
    ) -> Recalled:
        """Find the verdict or make it; the same subject at the same moment is judged once.

        Those that came later wait for the first, and if it fails or is cancelled the next takes its turn.

        Raises
        ------
        RecordUnavailable
            And whatever `judge` raises.
        """
        subject = await asyncio.to_thread(self._subject, instance_uid, image)
        async with self._turn(subject):
            known = await asyncio.to_thread(self._record.find, subject)
            if known is not None:
                return Recalled(known, from_record=True)
            verdict = await judge()
            return Recalled(await asyncio.to_thread(self._record.keep, subject, verdict, request_id), from_record=False)

    def _subject(self, instance_uid: str, image: DecodedImage) -> Subject:
        key = self._record.key
        return Subject(key.of_uid(instance_uid), key.of_pixels(image.pixels), self._model_version)

    @asynccontextmanager
    async def _turn(self, subject: Subject) -> AsyncIterator[None]:
        turn = self._turns.setdefault(subject, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[subject]
