"""A posted film -> decoded -> seen by the guard -> judged, or found in the record -> kept if rejected -> recorded -> reported."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool

from app.engine import Deadline, Engine, Version
from app.metrics import Metrics
from app.pipeline import DecodedImage
from app.quarantine import Quarantine
from app.records import Decision, DecisionSubject, Recalled, RecordKey, Repeats, Writer

from .film import Origin, PostedFilm, Screened
from .query_guard import QueryGuard
from .reports import Reports


@dataclass(frozen=True)
class Screening:
    """Takes posted films through one service."""

    engine: Engine
    guard: QueryGuard
    record_key: RecordKey
    repeats: Repeats
    writer: Writer
    quarantine: Quarantine | None
    reports: Reports
    metrics: Metrics

    async def screen(
        self,
        film: PostedFilm,
        origin: Origin,
        deadline: Deadline,
        *,
        heatmap: int | None = None,
        explains: bool = False,
        recalls: bool = False,
        report: bool = False,
    ) -> Screened:
        """Give a film its verdict. On return the verdict is in the record, so the caller may have it.

        Parameters
        ----------
        film : PostedFilm
        origin : Origin
        deadline : Deadline
            The deadline of the verdict. A verdict that is there by then is recorded and answered, however late that is.
        heatmap : int, optional
            Row of the finding whose heatmap is wanted.
        explains : bool
            Whether the heatmap alone is wanted. A film that was accepted before, and is accepted now, then gets no new decision:
            its entry in the record says that it was explained.
        recalls : bool
            Whether a verdict in the record holds, so that the film is not judged again. If the same film comes several times at
            the same moment, it is judged once.
        report : bool
            Whether the sender wants a report, if the film is DICOM. A configured server gets one in any case, unless a heatmap
            alone is wanted.

        Raises
        ------
        InputError, NumericalError
            From the pipeline.
        QuerySequence
        DecodingUnavailable, DeadlinePassed, InferenceFailed, NotReady
        RecordUnavailable, QuarantineUnavailable
            The verdict or the film could not be kept, so nothing may be answered.
        UnreportableSource
            The sender wants a report, and the film's header cannot carry one.
        """
        image, tensor = await self.engine.decode(origin.sharer, film.data, deadline.expires, film.kind)
        self.guard.see(origin.caller, origin.request_id, tensor)
        version = self.engine.active
        subject = await run_in_threadpool(self._subject, film, image, version)
        found = None
        async with self.repeats.turn(subject) if recalls else nullcontext() as known:
            verdict = known
            if verdict is None:
                judged = await self.engine.judge(
                    version, tensor, deadline.expires, explain=heatmap, compared=not explains
                )
                verdict, found = judged.verdict, judged.heatmap
            deadline.met()
            explained = explains and verdict.accepted  # a rejection is a decision, whatever the request wanted
            if known is None and not explained:
                self.metrics.count_judged(verdict, version.bundle, film.kind)
            decision = Decision(
                subject=subject,
                verdict=verdict,
                calls=None if verdict.probabilities is None else version.bundle.calls.words(verdict.probabilities),
                percentile=100 * version.bundle.golden.clean_percentile(verdict.log_density),
                request_id=origin.request_id,
                caller=origin.caller,
                route=origin.route,
                source_kind=film.kind,
                seconds=time.perf_counter() - origin.arrived,
                earliest_holds=recalls,
                presentation=image.presentation or None,
                explains=explained,
                caller_request_id=origin.caller_request_id,
            )
            recalled = await self._recorded(decision, film, origin.film_id)
        if explained and not recalled.from_record:
            self.metrics.count_judged(verdict, version.bundle, film.kind)
        screened = Screened(film, version, image, recalled, found)
        if not explains:
            screened = await self.reports.with_report(screened, wanted=report)
        if found is not None:
            self.metrics.count_heatmap(found.localised, version.name)
        return screened

    def _subject(self, film: PostedFilm, image: DecodedImage, version: Version) -> DecisionSubject:
        instance = self.record_key.of_uid(film.identity.sop_instance_uid) if film.identity else None
        return DecisionSubject(instance, self.record_key.of_pixels(image.pixels), version.name)

    async def _recorded(self, decision: Decision, film: PostedFilm, film_id: str) -> Recalled:
        """Record a decision; keep the film first if it was rejected."""
        if self.quarantine is None or decision.verdict.accepted:
            return await self.writer.keep(decision)
        if decision.earliest_holds:  # a sender that tries again does not fill the quarantine
            kept = await run_in_threadpool(self.repeats.film_of, decision.subject)
            if kept and self.quarantine.holds(kept):
                return await self.writer.keep(replace(decision, film=kept))
        return await self.quarantine.keep(decision, film_id, film.data)
