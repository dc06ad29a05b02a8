"""One report that the server will not take, a wait that nobody would wait, and an error of ours: the others are delivered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from app import supervised
from app.metrics import Metrics
from app.results import Delivery, DicomwebServer, Outbox
from app.results import deliver as deliver_module
from app.results.schedule import LONGEST_WAIT_SECONDS, Schedule
from app.supervised import SupervisedThread
from app.waiting import MOST_RETRY_AFTER_SECONDS
from tests.results.archive import Answer, Archive, Script, archive
from tests.results.films import film
from tests.results.test_report import KEY, REJECTED, report_bytes
from tests.support.waiting import eventually

GOOD = [f"1.2.{n}" for n in range(10)]


class Bench:
    """A delivery to an archive."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self.archive = archive
        self.metrics = Metrics()
        self.folder = folder / "outbox"
        self.outbox = Outbox(self.folder)
        self.delivery = Delivery(self.outbox, DicomwebServer(archive.url, key=KEY), self.metrics)

    def put(self, *patients: str) -> None:
        """A report of each; its name in the outbox is the patient's, so that tests can name it."""
        for patient in patients:
            instance = generate_uid(entropy_srcs=[patient])
            self.delivery.put(patient, report_bytes(film(PatientID=patient, SOPInstanceUID=instance), REJECTED))

    def waiting(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.dcm")}

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"cxr_{name}", labels)


@contextmanager
def delivering(folder: Path, script: Script) -> Iterator[Bench]:
    with archive(script) as server:
        bench = Bench(folder, server)
        bench.delivery.start()
        try:
            yield bench
        finally:
            bench.delivery.stop()


@pytest.mark.parametrize("status", [500, 503, 504, 403])
def test_a_report_that_is_never_taken_holds_no_other_back(tmp_path: Path, status: int) -> None:
    """Not those that came after it, nor those that come while it is tried again."""
    with delivering(tmp_path, lambda report, _: Answer(status if report.PatientID == "bad" else None)) as bench:
        bench.put("bad", *GOOD[:5])
        eventually(lambda: bench.waiting() == {"bad"}, 20)
        bench.put(*GOOD[5:])
        eventually(lambda: bench.waiting() == {"bad"}, 20)
        assert len(bench.archive.held) == len(GOOD)
        eventually(lambda: bench.value("results_waiting") == 1, 20)
        assert bench.value("results_oldest_seconds") > 0
        assert bench.value("result_failures_total") >= 1
        assert bench.value("thread_up", thread="delivery") == 1


@pytest.mark.parametrize(
    "asked", ["10000000000", "1e400", "nan", "\u00b2", "31536000", "Wed, 21 Oct 2999 07:28:00 GMT"]
)
def test_no_wait_that_a_server_asks_for_ends_the_delivery(tmp_path: Path, asked: str) -> None:
    refusal = Answer(503, {"Retry-After": asked.encode().decode("latin-1")})
    with delivering(tmp_path, lambda report, _: refusal if report.PatientID == "asked" else Answer()) as bench:
        bench.put("asked")
        eventually(lambda: bench.value("result_failures_total") == 1, 20)
        bench.put(*GOOD[:3])
        eventually(lambda: bench.value("results_waiting") == 1, 20)
        assert bench.waiting() == {"asked"}
        assert bench.value("thread_up", thread="delivery") == 1
        _, seconds = bench.delivery._schedule.next(time.monotonic())
        assert seconds is not None
        assert seconds <= MOST_RETRY_AFTER_SECONDS
        if asked == "31536000":
            assert seconds > MOST_RETRY_AFTER_SECONDS - 60  # what is sensible of it is obeyed


def test_a_report_that_is_put_again_as_it_is_delivered_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between its file's going and the end of the attempt."""
    done, again = Outbox.done, []

    def put_again(outbox: Outbox, uid: str) -> None:
        done(outbox, uid)
        if not again:
            again.append(uid)
            bench.put(uid)

    monkeypatch.setattr(Outbox, "done", put_again)
    with delivering(tmp_path, lambda *_: Answer()) as bench:
        bench.put("one")
        eventually(lambda: bool(again) and not bench.waiting(), 20)
    assert bench.value("results_total", outcome="stored") == 1


def test_an_error_of_ours_on_one_report_is_that_reports_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = DicomwebServer.deliver

    def failing(server: DicomwebServer, report: bytes) -> object:
        if b"bad" in report:
            raise RecursionError
        return deliver(server, report)

    monkeypatch.setattr(DicomwebServer, "deliver", failing)
    with delivering(tmp_path, lambda *_: Answer()) as bench:
        bench.put("bad", *GOOD[:3])
        eventually(lambda: bench.waiting() == {"bad"}, 20)
        assert bench.value("thread_failures_total", thread="delivery") in {None, 0.0}


def test_a_delivery_that_fails_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error outside of any one report: it is counted, and what waits is delivered all the same."""
    monkeypatch.setattr(supervised, "FIRST_WAIT_SECONDS", 0.05)
    hurry, errors = Schedule.next, iter([MemoryError(), OverflowError()])

    def failing(schedule: Schedule, now: float) -> object:
        for error in errors:
            raise error
        return hurry(schedule, now)

    monkeypatch.setattr(Schedule, "next", failing)
    with delivering(tmp_path, lambda *_: Answer()) as bench:
        bench.put(*GOOD[:2])
        eventually(lambda: not bench.waiting(), 20)
        assert bench.value("thread_failures_total", thread="delivery") == 2
        assert bench.value("thread_up", thread="delivery") == 1
    assert bench.value("thread_up", thread="delivery") == 0


def test_a_server_that_was_away_gets_at_once_what_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver_module, "FIRST_PAUSE_SECONDS", 0.05)
    away = threading.Event()
    away.set()
    with delivering(tmp_path, lambda *_: Answer(503 if away.is_set() else None)) as bench:
        bench.put(*GOOD)
        eventually(lambda: bench.value("result_failures_total") >= 5, 20)
        away.clear()
        eventually(lambda: not bench.waiting(), 20)
        eventually(lambda: bench.value("results_oldest_seconds") == 0, 20)


def test_a_thread_that_was_told_to_end_does_not_begin_again() -> None:
    metrics, stopping, runs = Metrics(), threading.Event(), []

    def work() -> None:
        runs.append(1)
        stopping.set()
        raise ValueError

    thread = SupervisedThread("test", work, stopping, metrics)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(runs) == 1


# The schedule, by a clock of the test's own.


def test_what_failed_waits_longer_and_longer_and_no_longer_than_the_longest() -> None:
    schedule, now, waits = Schedule(), 0.0, []
    schedule.add("one", now)
    for _ in range(40):
        assert schedule.next(now) == ("one", 0.0)
        schedule.failed("one", now, 0.0, away=False)
        name, seconds = schedule.next(now)
        assert name is None
        assert seconds is not None
        waits.append(seconds)
        now += seconds
    full = [min(LONGEST_WAIT_SECONDS, 2.0**n) for n in range(40)]
    assert all(whole / 2 - 1e-6 <= wait <= whole + 1e-6 for whole, wait in zip(full, waits, strict=True))


def test_whichever_has_been_due_longest_is_next_and_none_starves() -> None:
    """One that failed is tried again before those that came after it was due: against a naive model, at random."""
    chance, schedule, due, now = random.Random(0), Schedule(), {}, 0.0
    for step in range(2000):
        now += chance.random()
        if chance.random() < 0.4:
            schedule.add(str(step), now)
            due[str(step)] = now
        name, seconds = schedule.next(now)
        expected = min(due, key=lambda each: due[each], default=None)
        if expected is None or due[expected] > now:
            assert name is None
            assert seconds == (None if expected is None else pytest.approx(due[expected] - now))
            continue
        assert name == expected
        if chance.random() < 0.5:
            schedule.done(name)
            del due[name]
        else:
            schedule.failed(name, now, 1000.0, away=True)  # longer than any wait of its own
            due[name] = now + 1000.0
    assert len(schedule) == len(due)


def test_a_report_that_is_put_again_keeps_its_wait_and_its_age() -> None:
    schedule = Schedule()
    schedule.add("one", 0.0)
    schedule.failed("one", 0.0, 50.0, away=False)
    schedule.add("one", 10.0)
    assert schedule.next(10.0) == (None, pytest.approx(40.0))
    assert schedule.oldest(10.0) == 10.0


def test_hurry_is_for_what_failed_because_the_server_was_away() -> None:
    schedule = Schedule()
    for name in ("own", "asked", "away"):
        schedule.add(name, 0.0)
        schedule.failed(name, 0.0, 100.0 if name == "asked" else 0.0, away=name != "own")
        schedule.failed(name, 0.0, 100.0 if name == "asked" else 0.0, away=name != "own")
    schedule.hurry(0.5)
    assert schedule.next(0.5) == ("away", 0.0)
    schedule.done("away")
    assert schedule.next(0.5)[0] is None
