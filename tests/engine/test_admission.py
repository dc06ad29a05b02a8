"""Who may wait: by requests, by bytes, by the estimated wait; and an estimate never shuts the service."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from app.engine import Overloaded, Place
from app.engine import pace as paces
from app.engine import place as places
from app.engine.admission import Admission
from app.engine.pace import Pace
from app.engine.place import LEAST_BYTES_A_SECOND, PAUSE_SECONDS
from app.metrics import Metrics
from app.settings import Settings
from tests.engine.told import outcomes, running
from tests.support.screeners import ToldScreener

HUNDRED = Settings(max_waiting_bytes=100, deadline_seconds=30)


def admission(settings: Settings = HUNDRED, seconds_a_film: float = 0.0) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    return Admission(settings, metrics, lambda waiting: waiting * seconds_a_film), metrics


class Clock:
    """``time.monotonic`` of places, which goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(places, "time", made)
    return made


def test_bytes_over_the_limit_are_refused_and_come_back() -> None:
    admitted, metrics = admission()
    with admitted.place("a") as first:
        first.reserve(60)
        with admitted.place("b") as second:
            second.reserve(40)
            with admitted.place("c") as third, pytest.raises(Overloaded):
                third.reserve(1)
            with pytest.raises(Overloaded):  # one that grows as it arrives
                second.reserve(41)
            assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 100
            assert not admitted.room_for("c", 1)
        assert admitted.room_for("c", 40)
        first.reserve(30)
        assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 30
    assert metrics.registry.get_sample_value("cxr_waiting_bytes") == 0
    assert metrics.registry.get_sample_value("cxr_admissions_refused_total", {"reason": "bytes"}) == 2


def test_whoever_is_alone_may_be_larger_than_the_limit() -> None:
    admitted, _ = admission()
    with admitted.place("a") as large:
        large.reserve(50)
        large.reserve(1000)
        with admitted.place("b") as small, pytest.raises(Overloaded):
            small.reserve(1)


def test_a_place_given_back_after_an_error_holds_nothing() -> None:
    admitted, metrics = admission()

    def fail(place: Place) -> None:
        place.reserve(10)
        raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body"), admitted.place("a") as place:
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
    with ExitStack() as held_places:
        for number in range(admitted_at_once):
            held_places.enter_context(admitted.place(f"sender {number}"))
        with pytest.raises(Overloaded, match=f"try again in {retry_after} s") as refused:
            held_places.enter_context(admitted.place("one more"))
        assert refused.value.retry_after == retry_after
    with admitted.place("one more"):
        pass


@pytest.mark.parametrize(("callers", "each"), [(1, 48), (2, 27), (3, 19), (20, 3)])
def test_however_many_callers_take_all_they_can_there_is_a_place_for_the_next(callers: int, each: int) -> None:
    """Of 64. Each may hold three times what all of them leave free: 3/4, 3/7, 3/10 of the whole, and so on."""
    admitted, _ = admission()
    with ExitStack() as held_places:
        held = dict.fromkeys(map(str, range(callers)), 0)
        refused: set[str] = set()
        while len(refused) < callers:
            for caller in held.keys() - refused:
                try:
                    held_places.enter_context(admitted.place(caller))
                    held[caller] += 1
                except Overloaded:
                    refused.add(caller)
        assert all(abs(count - each) <= 1 for count in held.values())
        held_places.enter_context(admitted.place("next"))


def test_callers_who_come_one_after_the_other_leave_a_place_to_the_next() -> None:
    """Four who take all they can, in turn, have 48, 12, 3 and 1 of 64. Whose bodies are on their way gives some back."""

    async def scenario() -> None:
        admitted, metrics = admission()
        told: list[str] = []
        ended = asyncio.Event()

        async def send(place: Place) -> None:
            try:
                async with place.arriving():
                    place.arrived(10**9)  # at a good pace
                    await ended.wait()
            except Overloaded as error:
                told.append(str(error))

        async with asyncio.TaskGroup() as senders:
            with ExitStack() as held_places:

                def take_all(caller: str) -> int:
                    for count in range(65):
                        try:
                            place = held_places.enter_context(admitted.place(caller))
                        except Overloaded:
                            return count
                        senders.create_task(send(place))
                    return 65

                assert [take_all(caller) for caller in "abc"] == [48, 12, 3]
                await asyncio.sleep(0)
                took = take_all("d")  # the last free one, and then from who has most
                await asyncio.sleep(0.01)
                held = Counter(place.sharer for place in admitted._places)
                assert took == 3
                assert held == {"a": 46, "b": 12, "c": 3, "d": 3}
                for number in range(5):
                    senders.create_task(send(held_places.enter_context(admitted.place(f"next {number}"))))
                await asyncio.sleep(0.01)
                assert metrics.registry.get_sample_value("cxr_places_taken_total") == len(told) == took - 1 + 5
                assert all("send fewer at once" in each for each in told)
                ended.set()

    asyncio.run(scenario())


def test_nothing_is_taken_from_what_is_decoded_nor_from_equals() -> None:
    admitted, _ = admission(Settings(max_waiting=4))
    with ExitStack() as held_places:
        for caller in "aabc":
            held_places.enter_context(admitted.place(caller))
        with pytest.raises(Overloaded, match="4 requests wait already"):
            held_places.enter_context(admitted.place("d"))


def test_a_caller_alone_leaves_a_quarter_of_the_bytes_to_others() -> None:
    admitted, _ = admission()
    with admitted.place("a") as first, admitted.place("a") as second, admitted.place("b") as other:
        first.reserve(40)
        second.reserve(35)
        with pytest.raises(Overloaded):
            second.reserve(36)
        other.reserve(25)


def test_a_caller_alone_leaves_time_to_others() -> None:
    """Of the 22.5 s that may be waited it fills three quarters."""
    admitted, _ = admission(seconds_a_film=1.0)
    with ExitStack() as held_places:
        for _ in range(17):
            held_places.enter_context(admitted.place("a"))
        with pytest.raises(Overloaded, match="one caller may have"):
            held_places.enter_context(admitted.place("a"))
        for _ in range(5):
            held_places.enter_context(admitted.place("b"))


def test_a_place_whose_body_does_not_come_is_taken_when_another_wants_it(clock: Clock) -> None:
    """The one that is furthest behind, and none that keeps pace or is not waited for, as one that is decoded."""

    async def scenario() -> list[str]:
        admitted, metrics = admission(Settings(max_waiting=3))
        ends: dict[str, str] = {}

        async def sender(name: str, *, waits: bool, sends: int) -> None:
            try:
                with admitted.place(name) as place:
                    if not waits:
                        await asyncio.sleep(0.2)
                    else:
                        async with place.arriving():
                            place.arrived(sends)
                            await asyncio.sleep(0.2)
                ends[name] = "done"
            except Overloaded as error:
                ends[name] = "told" if "too slowly" in str(error) else "refused"

        tasks = [
            asyncio.create_task(sender("stalled", waits=True, sends=0)),
            asyncio.create_task(sender("decoded", waits=False, sends=0)),
        ]
        await asyncio.sleep(0.01)
        clock.now += PAUSE_SECONDS / 2
        tasks.append(asyncio.create_task(sender("younger", waits=True, sends=0)))
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):  # both may still come
            admitted.check("new")
        clock.now += PAUSE_SECONDS / 2 + 0.1
        tasks.append(asyncio.create_task(sender("new", waits=True, sends=0)))
        await asyncio.sleep(0.01)
        assert ends == {"stalled": "told"}
        with pytest.raises(Overloaded):  # the others keep pace
            admitted.check("another")
        await asyncio.gather(*tasks)
        assert metrics.registry.get_sample_value("cxr_places_taken_total") == 1
        assert metrics.registry.get_sample_value("cxr_waiting_requests") == 0
        return [name for name, end in ends.items() if end == "done"]

    assert sorted(asyncio.run(scenario())) == ["decoded", "new", "younger"]


@pytest.mark.parametrize(
    ("pieces", "seconds", "behind"),
    [
        ([0], PAUSE_SECONDS - 0.1, False),
        ([0], PAUSE_SECONDS + 0.1, True),
        ([LEAST_BYTES_A_SECOND] * 100, 1.0, False),
        ([LEAST_BYTES_A_SECOND // 2] * 10, 1.0, True),  # a trickle
        ([64 * 1024 * 1024, 0], PAUSE_SECONDS + 0.1, True),  # much at once buys no more than a pause
    ],
)
def test_the_least_rate(clock: Clock, pieces: list[int], seconds: float, behind: bool) -> None:
    async def scenario() -> bool:
        admitted, _ = admission()
        with admitted.place("a") as place:
            async with place.arriving():
                for piece in pieces:
                    place.arrived(piece)
                    clock.now += seconds
                return place.behind > 0

    assert asyncio.run(scenario()) is behind


def test_bodies_that_do_not_come_are_no_work(clock: Clock) -> None:
    async def scenario() -> None:
        admitted, _ = admission(seconds_a_film=1.0)
        with admitted.place("a") as place:
            async with place.arriving():
                assert admitted.seconds_ahead == 1.0
                clock.now += PAUSE_SECONDS + 1
                assert admitted.seconds_ahead == 0.0

    asyncio.run(scenario())


def test_a_pace_is_the_mean_at_first_and_then_follows() -> None:
    pace = Pace(most_seconds=10)
    assert pace.seconds == 0
    for seconds in (1000.0, 0.0, 0.0, 0.0):
        pace.add(seconds)
    assert pace.seconds == pytest.approx(10 / 4)
    for _ in range(60):
        pace.add(2.0)
    assert pace.seconds == pytest.approx(2.0, rel=0.01)


def test_a_pace_is_forgotten_after_an_idle_spell(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(most_seconds=10)
    pace.add(5.0)
    later = time.monotonic() + paces.FORGOTTEN_SECONDS + 1
    monkeypatch.setattr(paces.time, "monotonic", lambda: later)
    assert pace.seconds == 0
    pace.add(1.0)
    assert pace.seconds == 1.0


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
