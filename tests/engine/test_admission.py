"""Who may wait: by requests, by bytes, by the estimated wait; and an estimate never shuts the service."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import pytest

from app.engine import Overloaded, Place
from app.engine import rate as rates
from app.engine.admission import Admission
from app.engine.rate import Rate
from app.metrics import Metrics
from app.settings import Settings
from tests.engine.told import ToldScreener, outcomes, running

HUNDRED = Settings(max_waiting_bytes=100, deadline_seconds=30)


def admission(settings: Settings = HUNDRED, seconds_a_film: float = 0.0) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    return Admission(settings, metrics, lambda waiting: waiting * seconds_a_film), metrics


def test_bytes_over_the_limit_are_refused_and_come_back() -> None:
    admitted, metrics = admission()
    with admitted.place() as first:
        first.reserve(60)
        with admitted.place() as second:
            second.reserve(40)
            with admitted.place() as third, pytest.raises(Overloaded):
                third.reserve(1)
            with pytest.raises(Overloaded):  # one that grows as it arrives
                second.reserve(41)
            assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 100
            assert not admitted.room_for(1)
        assert admitted.room_for(40)
        first.reserve(30)
        assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 30
    assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 0
    assert metrics.registry.get_sample_value("cxr_admissions_refused_total", {"reason": "bytes"}) == 2


def test_whoever_is_alone_may_be_larger_than_the_limit() -> None:
    admitted, _ = admission()
    with admitted.place() as large:
        large.reserve(50)
        large.reserve(1000)
        with admitted.place() as small, pytest.raises(Overloaded):
            small.reserve(1)


def test_a_place_given_back_after_an_error_holds_nothing() -> None:
    admitted, metrics = admission()

    def fail(place: Place) -> None:
        place.reserve(10)
        raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body"), admitted.place() as place:
        fail(place)
    assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 0
    assert metrics.registry.get_sample_value("cxr_waiting_requests") == 0


@pytest.mark.parametrize(
    ("seconds_a_film", "admitted_at_once", "retry_after"),
    [(0.0, 64, 1), (0.1, 64, 7), (1.0, 23, 23), (7.5, 4, 30), (20.0, 2, 30), (1e9, 1, 30)],
)
def test_work_longer_than_the_deadline_leaves_is_refused(
    seconds_a_film: float, admitted_at_once: int, retry_after: int
) -> None:
    """Of 30 s a quarter is kept back; whatever was measured, one is admitted, which measures anew."""
    admitted, _ = admission(seconds_a_film=seconds_a_film)
    with ExitStack() as places:
        for _ in range(admitted_at_once):
            places.enter_context(admitted.place())
        with pytest.raises(Overloaded, match=f"try again in {retry_after} s") as refused:
            places.enter_context(admitted.place())
        assert refused.value.retry_after == retry_after
    with admitted.place():
        pass


def test_a_rate_is_the_mean_at_first_and_then_follows() -> None:
    rate = Rate(most_seconds=10)
    assert rate.seconds == 0
    for seconds in (1000.0, 0.0, 0.0, 0.0):
        rate.add(seconds)
    assert rate.seconds == pytest.approx(10 / 4)
    for _ in range(60):
        rate.add(2.0)
    assert rate.seconds == pytest.approx(2.0, rel=0.01)


def test_a_rate_is_forgotten_after_an_idle_spell(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Rate(most_seconds=10)
    rate.add(5.0)
    later = time.monotonic() + rates.FORGOTTEN_SECONDS + 1
    monkeypatch.setattr(rates.time, "monotonic", lambda: later)
    assert rate.seconds == 0
    rate.add(1.0)
    assert rate.seconds == 1.0


def test_a_device_that_was_slow_once_is_tried_again() -> None:
    """It took most of the deadline for one film; what comes meanwhile is told when, and nobody is locked out after."""

    def rule(marks: list[int]) -> None:
        if marks == [20]:
            time.sleep(2.4)

    async def scenario() -> None:
        async with running(ToldScreener(rule), deadline_seconds=3) as bench:
            assert await outcomes(bench.submit(20)) == [20]
            held = await bench.hold()
            assert await outcomes(bench.submit(30)) == [Overloaded]
            bench.release()
            assert await outcomes(held) == [10]
            for mark in range(40, 70):
                assert await outcomes(bench.submit(mark)) == [mark]
            assert await outcomes(*(bench.submit(mark) for mark in range(70, 75))) == [70, 71, 72, 73, 74]

    asyncio.run(scenario())
