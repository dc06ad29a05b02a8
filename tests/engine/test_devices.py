"""Devices that fail, die or hang: their films go to another one, and readiness falls with the last."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.engine import InferenceFailed, Judged, NotReady
from app.engine import device as devices
from app.pipeline.errors import BundleError
from tests.engine.told import SECONDS, Bench, outcomes, running
from tests.support.screeners import ToldScreener


def test_films_of_a_broken_device_are_judged_by_another_and_it_comes_back() -> None:
    async def scenario() -> None:
        bad, good = ToldScreener(device="cuda:0"), ToldScreener(device="cuda:1")
        async with running(bad, good, device_retry_seconds=0.02) as bench:
            assert bench.metric("cxr_devices_in_service") == 2
            bad.broken = True
            good.gate.clear()  # so that the broken one gets something
            tasks = []
            while bench.metric("cxr_devices_in_service") == 2:
                tasks.append(bench.submit(20))
                await asyncio.sleep(0.01)
                assert len(tasks) < 50
            good.gate.set()
            assert await outcomes(*tasks) == [20] * len(tasks)
            assert bench.engine.ready
            assert await outcomes(*(bench.submit(mark) for mark in range(30, 60))) == [*range(30, 60)]
            assert bench.metric("cxr_device_failures_total", device="cuda:0") == 1
            bad.broken = False
            await bench.until("cxr_devices_in_service", 2)

    asyncio.run(scenario())


def test_with_the_last_device_readiness_falls_and_those_who_wait_are_told() -> None:
    async def scenario() -> None:
        only = ToldScreener(device="cuda:0")
        async with running(only, device_retry_seconds=0.02, max_batch=2) as bench:
            tasks = [await bench.hold(), *(bench.submit(mark) for mark in (20, 30, 40))]
            await bench.queued()
            only.broken = True
            bench.release()
            assert await outcomes(*tasks) == [NotReady] * 4
            assert not bench.engine.ready
            with pytest.raises(NotReady):
                bench.engine.admit("one")
            assert (bench.metric("cxr_ready"), bench.metric("cxr_devices_in_service")) == (0, 0)
            assert (bench.waiting, bench.metric("cxr_waiting_bytes")) == (0, 0)
            only.broken = False
            await bench.until("cxr_ready", 1)
            assert await outcomes(bench.submit(50)) == [50]

    asyncio.run(scenario())


def test_a_device_stays_out_while_its_golden_check_fails() -> None:
    async def scenario() -> None:
        only = ToldScreener(device="cuda:0")
        checks = threading.Semaphore(0)
        async with running(only, device_retry_seconds=0.01) as bench:
            only.broken = True
            only.require_golden = lambda: (checks.release(), ToldScreener.require_golden(only))[1]  # type: ignore[method-assign]
            assert await outcomes(bench.submit(20)) == [NotReady]
            for _ in range(5):
                assert await asyncio.to_thread(checks.acquire, timeout=SECONDS)
            assert not bench.engine.ready

    asyncio.run(scenario())


def test_films_that_fail_on_a_proven_device_do_not_close_the_only_one() -> None:
    def rule(marks: list[int]) -> None:
        if max(marks) >= 100:
            raise RuntimeError

    async def scenario() -> None:
        async with running(ToldScreener(rule)) as bench:
            poison = [bench.submit(mark) for mark in range(100, 110)]
            assert await outcomes(*poison) == [InferenceFailed] * 10
            assert await outcomes(bench.submit(20)) == [20]
            assert bench.metric("cxr_devices_in_service") == 1

    asyncio.run(scenario())


def test_a_device_that_fails_again_and_again_leaves_its_films_to_another() -> None:
    """Its golden check passes, and yet nothing else does."""

    def rule(marks: list[int]) -> None:
        raise RuntimeError

    async def scenario() -> None:
        bad, good = ToldScreener(rule, device="cuda:0"), ToldScreener(device="cuda:1")
        async with running(bad, good, device_retry_seconds=SECONDS) as bench:
            good.gate.clear()
            tasks: list[asyncio.Task[Judged]] = []
            while bench.metric("cxr_devices_in_service") == 2:
                tasks.append(bench.submit(20))
                await asyncio.sleep(0.01)
                assert len(tasks) < 50
            good.gate.set()
            answers = await outcomes(*tasks, *(bench.submit(30) for _ in range(20)))
            assert answers.count(InferenceFailed) == devices.MOST_FAILURES_IN_A_ROW - 1
            assert answers[-20:] == [30] * 20

    asyncio.run(scenario())


def test_a_thread_that_dies_takes_no_film_with_it() -> None:
    def die(marks: list[int]) -> None:
        raise SystemExit

    async def scenario() -> None:
        dying, other = ToldScreener(die, device="cuda:0"), ToldScreener(device="cuda:1")
        async with running(dying, other) as bench:
            other.gate.clear()
            tasks: list[asyncio.Task[Judged]] = []
            while bench.metric("cxr_devices_in_service") == 2:
                tasks.append(bench.submit(20))
                await asyncio.sleep(0.01)
                assert len(tasks) < 50
            other.gate.set()
            assert await outcomes(*tasks) == [20] * len(tasks)
        async with running(ToldScreener(die)) as bench:
            assert await outcomes(bench.submit(20)) == [NotReady]
            assert not bench.engine.ready

    asyncio.run(scenario())


def test_a_device_that_hangs_is_not_counted_until_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "STUCK_SECONDS", 0.2)

    async def scenario() -> None:
        async with running(ToldScreener()) as bench:
            held = await bench.hold()
            await bench.until("cxr_ready", 0)
            with pytest.raises(NotReady):
                bench.engine.admit("one")
            bench.release()
            assert await outcomes(held) == [10]
            await bench.until("cxr_ready", 1)

    asyncio.run(scenario())


def test_every_device_is_proven_at_the_start() -> None:
    unfit = ToldScreener(device="cuda:1")
    unfit.golden_error = BundleError("golden")
    bench = Bench(ToldScreener(device="cuda:0"), unfit)
    with pytest.raises(BundleError):
        bench.engine.start()
    assert not bench.engine.ready
    bench.engine.stop()
