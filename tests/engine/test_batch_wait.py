"""``CXR_BATCH_WAIT_MS``: a batch that is not full waits for more, but costs nobody a deadline."""

from __future__ import annotations

import asyncio

from tests.engine.told import outcomes, running
from tests.support.screeners import ToldScreener

AN_HOUR = 3_600_000.0


def test_a_batch_waits_until_it_is_full() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), max_batch=3, batch_wait_ms=AN_HOUR, deadline_seconds=2 * 3600) as bench:
            tasks = [bench.submit(mark) for mark in (20, 30)]
            await bench.until("cxr_queue_films", 2, queue="device")
            assert bench.screener.batches == []
            assert await outcomes(*tasks, bench.submit(40)) == [20, 30, 40]
            assert bench.screener.batches == [[20, 30, 40]]

    asyncio.run(scenario())


def test_it_waits_no_longer_than_it_is_told() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), batch_wait_ms=100) as bench:
            assert await outcomes(bench.submit(20)) == [20]

    asyncio.run(scenario())


def test_no_film_waits_past_its_deadline() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), batch_wait_ms=AN_HOUR, deadline_seconds=5) as bench:
            assert await outcomes(bench.submit(20)) == [20]

    asyncio.run(scenario())


def test_whoever_leaves_while_it_waits_is_not_in_it() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), max_batch=2, batch_wait_ms=AN_HOUR, deadline_seconds=2 * 3600) as bench:
            leaving = bench.submit(20)
            await bench.until("cxr_queue_films", 1, queue="device")
            leaving.cancel()
            await bench.until("cxr_queue_films", 0, queue="device")
            assert await outcomes(leaving, bench.submit(30), bench.submit(40)) == [asyncio.CancelledError, 30, 40]
            assert bench.screener.batches == [[30, 40]]
            assert bench.metric("cxr_dropped_films_total", reason="cancelled") == 1

    asyncio.run(scenario())


def test_stop_waits_for_no_more() -> None:
    async def scenario() -> None:
        async with running(ToldScreener(), batch_wait_ms=AN_HOUR, deadline_seconds=2 * 3600) as bench:
            task = bench.submit(20)
            await bench.until("cxr_queue_films", 1, queue="device")
            await asyncio.to_thread(bench.engine.stop)
            assert await outcomes(task) == [20]

    asyncio.run(scenario())
