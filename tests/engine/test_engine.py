"""One image never fails, delays or hangs its neighbours."""

from __future__ import annotations

import asyncio

import pytest

from app.engine import DeadlinePassed, InferenceFailed, NotReady, Overloaded, Place
from app.pipeline.errors import BundleError, MalformedImage, NumericalError
from tests.engine.told import Bench, film, given, judged, outcomes, running
from tests.support.screeners import ToldScreener


def test_films_that_wait_form_one_batch() -> None:
    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            bench.release()
            assert await outcomes(*tasks) == [10, 20, 30, 40]
            assert bench.screener.batches == [[10], [20, 30, 40]]
            assert bench.waiting == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("most_at_once", "max_batch"), [(None, 2), (2, 8), (8, 2)], ids=["setting", "device", "the smaller"]
)
def test_a_batch_is_no_larger_than_its_limit(most_at_once: int | None, max_batch: int) -> None:
    async def scenario() -> None:
        async with running(ToldScreener(most_at_once=most_at_once), max_batch=max_batch) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            bench.release()
            assert await outcomes(*tasks) == [10, 20, 30, 40]
            assert bench.screener.batches == [[10], [20, 30], [40]]

    asyncio.run(scenario())


def test_a_released_film_runs_once_and_by_itself() -> None:
    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            tasks = [await bench.hold(), bench.submit(20)]
            await bench.until("cxr_queue_films", 1, queue="device")
            released = asyncio.create_task(bench.engine.screen_released("reviewer", film(30), "png"))
            await bench.until("cxr_queue_films", 2, queue="device")
            tasks.append(bench.submit(40))
            await bench.until("cxr_queue_films", 3, queue="device")
            bench.release()
            assert await outcomes(*tasks) == [10, 20, 40]
            version, image, probabilities = await released
            assert (version.name, image.source_kind, set(probabilities)) == ("told", "png", {0.3})
            assert bench.screener.batches == [[10], [20], [40]]
            assert bench.screener.released == [30]

    asyncio.run(scenario())


def test_a_poisonous_film_fails_alone() -> None:
    def rule(marks: list[int]) -> None:
        if 30 in marks:
            raise RuntimeError("CUDA error")

    async def scenario() -> None:
        async with running(ToldScreener(rule)) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            bench.release()
            assert await outcomes(*tasks) == [10, 20, InferenceFailed, 40]
            assert bench.screener.batches == [[10], [20, 30, 40], [20], [30], [40]]
            assert await outcomes(bench.submit(50)) == [50]

    asyncio.run(scenario())


def test_a_device_that_fails_once_costs_nobody_an_answer() -> None:
    def rule(marks: list[int]) -> None:
        if len(marks) > 1:
            raise MemoryError

    async def scenario() -> None:
        async with running(ToldScreener(rule)) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30))]
            await bench.queued()
            bench.release()
            assert await outcomes(*tasks) == [10, 20, 30]
            assert bench.screener.batches == [[10], [20, 30], [20], [30]]

    asyncio.run(scenario())


def test_a_result_that_is_not_finite_is_its_own_films_error() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(not_finite=frozenset({30}))) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            bench.release()
            assert await outcomes(*tasks) == [10, 20, NumericalError, 40]
            assert bench.screener.batches == [[10], [20, 30, 40]]

    asyncio.run(scenario())


def test_a_cancelled_film_never_runs_and_its_neighbours_are_answered() -> None:
    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            tasks[2].cancel()
            await asyncio.sleep(0.05)
            bench.release()
            assert await outcomes(*tasks) == [10, 20, asyncio.CancelledError, 40]
            assert bench.screener.batches == [[10], [20, 40]]
            assert bench.waiting == 0

    asyncio.run(scenario())


def test_a_film_cancelled_while_it_runs_stops_nothing() -> None:
    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            held = await bench.hold()
            held.cancel()
            next_one = bench.submit(20)
            await bench.queued()
            bench.release()
            assert await outcomes(held, next_one) == [asyncio.CancelledError, 20]

    asyncio.run(scenario())


def test_an_expired_film_never_runs() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), deadline_seconds=0.5) as bench:
            tasks = [await bench.hold(), bench.submit(20)]
            assert await outcomes(*tasks) == [DeadlinePassed, DeadlinePassed]
            bench.release()
            assert await outcomes(bench.submit(30)) == [30]
            assert bench.screener.batches == [[10], [30]]
            assert bench.waiting == 0

    asyncio.run(scenario())


def test_a_film_that_cannot_be_decoded_never_reaches_the_device() -> None:
    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            with pytest.raises(MalformedImage):
                await judged(bench.engine, "one", given(film(20)[:200]))
            assert bench.screener.batches == []
            assert bench.waiting == 0

    asyncio.run(scenario())


def test_more_than_may_wait_are_refused_at_once() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), max_waiting=2) as bench:
            tasks = [await bench.hold(), bench.submit(20)]
            await bench.queued()
            with pytest.raises(Overloaded):
                bench.engine.admit("one")
            assert await outcomes(bench.submit(30)) == [Overloaded]
            bench.release()
            assert await outcomes(*tasks) == [10, 20]
            bench.engine.admit("one")

    asyncio.run(scenario())


def test_stop_finishes_what_was_admitted_and_refuses_the_rest() -> None:
    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            tasks = [await bench.hold(), bench.submit(20)]
            await bench.queued()
            stopping = asyncio.create_task(asyncio.to_thread(bench.engine.stop))
            await asyncio.sleep(0.1)
            with pytest.raises(NotReady):
                bench.engine.admit("one")
            bench.release()
            assert await outcomes(*tasks) == [10, 20]
            await stopping
            assert not bench.engine.ready

    asyncio.run(scenario())


def test_nothing_is_accepted_before_the_start_or_after_a_failed_one() -> None:
    screener = ToldScreener()
    screener.golden_error = BundleError("golden")
    bench = Bench(screener)
    with pytest.raises(NotReady):
        bench.engine.admit("one")
    with pytest.raises(BundleError):
        bench.engine.start()
    assert not bench.engine.ready
    with pytest.raises(NotReady):
        bench.engine.admit("one")
    bench.engine.stop()


def test_what_comes_after_the_verdict_has_no_deadline() -> None:
    async def scenario(met: bool) -> None:
        async with Bench(ToldScreener(), deadline_seconds=0.05).engine.deadline() as deadline:
            if met:
                deadline.met()
            await asyncio.sleep(0.2)

    asyncio.run(scenario(met=True))
    with pytest.raises(DeadlinePassed):
        asyncio.run(scenario(met=False))


def test_a_slow_sender_gives_up_its_place_at_the_deadline() -> None:
    async def scenario() -> None:
        async def never(place: Place) -> bytes:
            await asyncio.sleep(60)
            return b""

        async with running(ToldScreener(), max_waiting=1, deadline_seconds=0.2) as bench:
            with pytest.raises(DeadlinePassed):
                await judged(bench.engine, "one", never)
            assert bench.waiting == 0

    asyncio.run(scenario())
