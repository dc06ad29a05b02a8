"""Versions in the engine: whom a film is bound to, and what judges in shadow and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from torch import Tensor

from app.engine import NotReady, Shadow
from app.engine import shadow as shadows
from app.pipeline import Verdict
from app.pipeline.errors import BundleError, NumericalError, UnsuitableImage
from app.pipeline.labels import LABELS
from tests.support.screeners import ToldScreener

from .told import SECONDS, Bench, outcomes, running, version

Opinion = Verdict | NumericalError | UnsuitableImage


def accepts(mark: int, probability: float = 0.5) -> Verdict:
    return Verdict(True, float(mark), np.full(len(LABELS), probability))


def rejects(mark: int) -> Verdict:
    return Verdict(False, float(mark), None)


class Opinionated(ToldScreener):
    """Judges as it is told, and writes into a log that it may share."""

    def __init__(
        self, opinion: Callable[[int], Opinion], log: list[tuple[str, int]] | None = None, name: str = ""
    ) -> None:
        super().__init__()
        self.opinion = opinion
        self.log = [] if log is None else log
        self.name = name

    def screen(self, images: Tensor) -> list[Opinion]:  # type: ignore[override]
        given = super().screen(images)
        self.log += [(self.name, round(verdict.log_density)) for verdict in given if isinstance(verdict, Verdict)]
        return [self.opinion(mark) for mark in self.batches[-1]]


def begin(bench: Bench, screener: ToldScreener) -> Shadow:
    bench.metrics.introduce_shadow("new")
    return bench.engine.begin_shadow(version("new", screener))


async def settled(bench: Bench, shadow: Shadow, films: int) -> None:
    """Until the shadow is done with so many films."""
    compared = shadow.comparison

    async def done() -> None:
        while sum(compared.decisions.values()) + compared.errors + compared.dropped < films:
            await asyncio.sleep(0.005)

    await asyncio.wait_for(done(), SECONDS)


def test_films_are_judged_by_the_version_that_was_active_when_they_were_decoded_and_no_batch_is_mixed() -> None:
    async def scenario() -> None:
        old, new = ToldScreener(), ToldScreener()
        async with running(old) as bench:
            first = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            bench.engine.activate(version("new", new))
            second = [bench.submit(mark) for mark in (50, 60, 70)]
            await bench.queued()
            bench.release()
            screened = await asyncio.gather(*first, *second)
            assert [each.version.name for each in screened] == ["told"] * 4 + ["new"] * 3
            assert [round(each.verdict.log_density) for each in screened] == [10, 20, 30, 40, 50, 60, 70]
            assert [sorted(batch) for batch in old.batches] == [[10], [20, 30, 40]]
            assert [sorted(batch) for batch in new.batches] == [[50, 60, 70]]

    asyncio.run(scenario())


def test_a_device_that_comes_back_proves_itself_by_the_active_version() -> None:
    async def scenario() -> None:
        def broken(marks: list[int]) -> None:
            raise RuntimeError

        old, new = ToldScreener(broken), ToldScreener()
        async with running(old, device_retry_seconds=0.02) as bench:
            old.golden_error = BundleError("golden")
            assert await outcomes(bench.submit(20)) == [NotReady]
            bench.engine.activate(version("new", new))
            await bench.until("cxr_ready", 1)
            assert await outcomes(bench.submit(30)) == [30]

    asyncio.run(scenario())


def test_every_film_is_compared_once() -> None:
    def active(mark: int) -> Opinion:
        return accepts(mark, 0.5) if mark < 100 else rejects(mark)

    def shadow(mark: int) -> Opinion:
        if mark % 3 == 0:
            return UnsuitableImage("turned")
        return accepts(mark, 0.5 + mark / 1000) if mark % 3 == 1 else rejects(mark)

    async def scenario() -> None:
        async with running(Opinionated(active), max_waiting=200, shadow_waiting=200) as bench:
            began = begin(bench, Opinionated(shadow))
            marks = range(40, 160)
            await asyncio.gather(*(bench.submit(mark) for mark in marks))
            await settled(bench, began, len(marks))
            expected = {
                (a, s): sum((mark < 100) == (a == "accepted") and mark % 3 == rest for mark in marks)
                for a in ("accepted", "rejected")
                for s, rest in (("not_judged", 0), ("accepted", 1), ("rejected", 2))
            }
            assert min(expected.values()) >= 20
            assert dict(began.comparison.decisions) == expected
            for (a, s), films in expected.items():
                counted = bench.metric("cxr_shadow_decisions_total", shadow_version="new", active=a, shadow=s)
                assert counted == films
            both = bench.metric("cxr_shadow_probability_difference_count", shadow_version="new")
            assert both == expected["accepted", "accepted"]
            assert began.comparison.largest_difference == pytest.approx(0.097)  # of the mark 97
            assert (began.comparison.dropped, began.comparison.errors, began.comparison.ended) == (0, 0, None)

    asyncio.run(scenario())


def test_the_shadow_waits_while_anybody_does_and_what_does_not_fit_is_counted() -> None:
    async def scenario() -> None:
        log: list[tuple[str, int]] = []
        async with running(Opinionated(accepts, log, "active"), shadow_waiting=10) as bench:
            began = begin(bench, Opinionated(accepts, log, "shadow"))
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in range(20, 49))]
            await bench.queued()
            bench.release()
            await asyncio.gather(*tasks)
            await settled(bench, began, 30)
            assert [name for name, _ in log] == ["active"] * 30 + ["shadow"] * 10
            assert [mark for _, mark in log[30:]] == [mark for _, mark in log[:10]]
            assert began.comparison.dropped == 20
            assert bench.metric("cxr_shadow_dropped_total", shadow_version="new") == 20

    asyncio.run(scenario())


def test_who_comes_while_the_shadow_judges_waits_for_one_film_of_it() -> None:
    async def scenario() -> None:
        log: list[tuple[str, int]] = []
        shadow = Opinionated(accepts, log, "shadow")
        async with running(Opinionated(accepts, log, "active")) as bench:
            began = begin(bench, shadow)
            held = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            shadow.gate.clear()
            bench.release()  # all four are judged, and the first of them is the shadow's
            await asyncio.gather(*held)
            assert await asyncio.to_thread(shadow.entered.wait, SECONDS)
            late = bench.submit(50)
            await bench.until("cxr_queue_films", 1, queue="device")
            shadow.gate.set()
            await late
            await settled(bench, began, 5)
            assert [name for name, _ in log] == ["active"] * 4 + ["shadow", "active"] + ["shadow"] * 4

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["raises", "not finite"])
def test_a_shadow_that_fails_is_counted_and_withdrawn_and_nobody_notices(fault: str) -> None:
    def opinion(mark: int) -> Opinion:
        if mark in (20, 30, 40, 50):
            return accepts(mark)
        if fault == "raises":
            raise MemoryError
        return NumericalError("not finite")

    async def scenario() -> None:
        shadow = Opinionated(opinion)
        async with running(ToldScreener()) as bench:
            began = begin(bench, shadow)
            films = 0
            for mark in [60] * (shadows.MOST_FAILURES_IN_A_ROW - 1) + [20] + [70] * shadows.MOST_FAILURES_IN_A_ROW:
                assert await outcomes(bench.submit(mark)) == [mark]
                films += 1
                await settled(bench, began, films)
            assert bench.engine.shadow is None
            assert began.comparison.ended is not None
            assert began.comparison.ended.startswith("withdrawn")
            assert await outcomes(*(bench.submit(mark) for mark in range(80, 100))) == [*range(80, 100)]
            errors = 2 * shadows.MOST_FAILURES_IN_A_ROW - 1
            assert (began.comparison.errors, sum(began.comparison.decisions.values())) == (errors, 1)
            assert bench.metric("cxr_shadow_errors_total", shadow_version="new") == errors
            assert len(shadow.batches) == films
            assert bench.metric("cxr_devices_in_service") == 1
            assert bench.metric("cxr_device_failures_total", device="told") in (None, 0)

    asyncio.run(scenario())


def test_with_another_active_version_the_comparison_is_over() -> None:
    async def scenario() -> None:
        shadow = ToldScreener()
        async with running(ToldScreener()) as bench:
            began = begin(bench, shadow)
            held = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30))]
            await bench.queued()
            bench.engine.activate(version("other", ToldScreener()))
            bench.release()
            await asyncio.gather(*held)
            assert await outcomes(bench.submit(40)) == [40]
            assert bench.engine.shadow is None
            assert began.comparison.ended == "other became active"
            assert shadow.batches == []

    asyncio.run(scenario())
