"""What was screened for a request -> an entry of the record, before anything is answered."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.engine import Screened, Version
from app.pipeline import DecodedImage, Verdict
from app.pipeline.identity import read_identity
from app.quarantine import Quarantine
from app.records import Decision, Recalled, RecordKey, Repeats, Subject, Writer


@dataclass(frozen=True)
class Asked:
    """Who asked for a decision, where, and when the film came (``time.perf_counter()``, seconds)."""

    request_id: str
    caller: str
    route: str
    arrived: float

    @classmethod
    def by(cls, request: Request, arrived: float) -> Asked:
        """What a request says; the route is its template, never the path itself."""
        return cls(request.state.request_id, request.state.caller, request.scope["route"].path, arrived)


@dataclass(frozen=True)
class Decisions:
    """Writes the decisions of one application, and keeps what was rejected where there is a quarantine."""

    key: RecordKey
    writer: Writer
    repeats: Repeats
    quarantine: Quarantine | None = None

    async def keep(self, request: Request, film: bytes, screened: Screened, *, explains: bool = False) -> Recalled:
        """Write down what was decided on a film.

        Where a heatmap was asked for (`explains`), a film that was accepted before and is accepted now is not decided anew:
        the entry says that it was explained, and what returns is from the record.

        Raises
        ------
        RecordUnavailable, QuarantineUnavailable
            Nothing may be answered.
        """
        subject = await run_in_threadpool(self._subject, film, screened)
        asked = Asked.by(request, request.state.arrived)
        decision = _decision(screened.version, subject, screened.image, screened.verdict, asked)
        return await self._written(replace(decision, explains=explains), film, asked.request_id)

    async def recall(
        self,
        version: Version,
        instance_uid: str,
        part: bytes,
        number: int,
        image: DecodedImage,
        asked: Asked,
        judge: Callable[[], Awaitable[Verdict]],
    ) -> Recalled:
        """A version's verdict on an instance: that of the record if it has one, else what `judge` gives. Either is written down.

        Parameters
        ----------
        part : bytes
            The instance, which is the part of this `number` in its request.

        Raises
        ------
        RecordUnavailable, QuarantineUnavailable
            And whatever `judge` raises.
        """
        subject = await run_in_threadpool(self._subject_of, version, instance_uid, image)

        async def keep(verdict: Verdict) -> Recalled:
            decision = _decision(version, subject, image, verdict, asked, earliest_holds=True)
            if self.quarantine and not verdict.accepted:
                known = await run_in_threadpool(self.repeats.film_of, subject)
                if known and self.quarantine.holds(known):  # a sender that tries again does not fill the quarantine
                    return await self.writer.keep(replace(decision, film=known))
            return await self._written(decision, part, f"{asked.request_id}-{number}")

        return await self.repeats.verdict(subject, judge, keep)

    async def _written(self, decision: Decision, film: bytes, film_id: str) -> Recalled:
        if self.quarantine is None or decision.verdict.accepted:
            return await self.writer.keep(decision)
        return await self.quarantine.keep(decision, film_id, film)

    def _subject(self, film: bytes, screened: Screened) -> Subject:
        image = screened.image
        identity = read_identity(film) if image.source_kind == "dicom" else None
        return self._subject_of(screened.version, identity.sop_instance_uid if identity else None, image)

    def _subject_of(self, version: Version, instance_uid: str | None, image: DecodedImage) -> Subject:
        instance_hash = None if instance_uid is None else self.key.of_uid(instance_uid)
        return Subject(instance_hash, self.key.of_pixels(image.pixels), version.name)


def _decision(
    version: Version,
    subject: Subject,
    image: DecodedImage,
    verdict: Verdict,
    asked: Asked,
    *,
    earliest_holds: bool = False,
) -> Decision:
    return Decision(
        subject=subject,
        verdict=verdict,
        calls=None if verdict.probabilities is None else version.bundle.calls.words(verdict.probabilities),
        percentile=100 * version.bundle.golden.clean_percentile(verdict.log_density),
        request_id=asked.request_id,
        caller=asked.caller,
        route=asked.route,
        source_kind=image.source_kind,
        seconds=time.perf_counter() - asked.arrived,
        earliest_holds=earliest_holds,
        presentation=image.presentation or None,
    )
