"""What becomes of a film that fails: it holds nobody up, is tried again, and is on the list in the end; none is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.forward import Aside, Books, Checkpoint, Forwarder, books
from app.forward import forwarder as forwarder_module
from app.forward import retry as retry_module
from app.forward.aside import FilmSetAside, path_beside
from app.forward.errors import Fault, Misconfigured, Passing
from app.forward.forwarder import MOST_POSTPONED_SECONDS, POSTPONED_SECONDS, ForwardOptions, postponed_seconds
from app.forward.metrics import ForwardMetrics
from app.forward.orthanc import NEW_INSTANCE, Change, Page, Stored
from app.forward.service import Refusal, Report
from app.tracing import Tracing

SECONDS = 20.0
BUSY = Fault("the service answered 503", "decoding-unavailable", 503, "0" * 32)
UNSUITABLE = Refusal(400, "unsuitable-image", "1" * 32)
#: From (film, how often it was asked for before) to what the service does.
Script = Callable[[str, int], Report | Refusal | Exception]


class Pacs:
    """An Orthanc and a service in memory; a film's bytes are its name."""

    def __init__(self, films: list[str], script: Script) -> None:
        self.films = films
        self.script = script
        self.asked: list[str] = []
        self.reports: list[str] = []

    async def changes(self, since: int) -> Page:
        found = [Change(n, NEW_INSTANCE, name) for n, name in enumerate(self.films, 1) if n > since]
        return Page(tuple(found), True, len(self.films))

    async def last_change(self) -> int:
        return len(self.films)

    async def instances(self, offset: int) -> list[str]:
        return self.films[offset : offset + 2]

    async def modality(self, instance: str) -> str | None:
        return "DX" if instance in self.films else None

    async def film(self, instance: str) -> bytes | None:
        if instance.startswith("report on "):
            return instance.removeprefix("report on ").encode()
        return instance.encode() if instance in self.films else None

    async def score(self, film: bytes) -> Report | Refusal:
        name = film.decode()
        answer = self.script(name, self.asked.count(name))
        self.asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        return replace(answer, content=film) if isinstance(answer, Report) else answer

    async def store(self, report: bytes) -> Stored:
        new = report.decode() not in self.reports
        if new:
            self.reports.append(report.decode())
        return Stored("report on " + report.decode(), new)


REPORT = Report(b"", accepted=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(forwarder_module, "POSTPONED_SECONDS", 0.05)
    monkeypatch.setattr(forwarder_module, "MOST_POSTPONED_SECONDS", 0.1)


class Bench:
    """A forwarder over a state that stays between its runs."""

    def __init__(
        self, folder: Path, pacs: Pacs, give_up_seconds: float = 3600, in_flight: int = 1, keep_given_up: int = 100
    ) -> None:
        self.state = folder / "forward.json"
        self.pacs = pacs
        self.options = ForwardOptions(frozenset({"DX"}), "beginning", in_flight, 0.01, give_up_seconds, keep_given_up)
        self.metrics = ForwardMetrics()

    def run(self, until: Callable[[Aside], bool], meanwhile: Callable[[Aside], None] = lambda _: None) -> None:
        """Forward until something holds."""

        async def main(checkpoint: Checkpoint, aside: Aside) -> None:
            tracing = Tracing.from_environment({}, "test")
            with closing(Books(books.path_beside(self.state))) as kept:
                await forward(
                    Forwarder(self.pacs, self.pacs, checkpoint, aside, kept, self.options, self.metrics, tracing), aside
                )  # type: ignore[arg-type]

        async def forward(forwarder: Forwarder, aside: Aside) -> None:
            stop = asyncio.Event()
            running = asyncio.create_task(forwarder.run(stop))
            end = time.monotonic() + SECONDS
            while not until(aside) and not running.done():
                assert time.monotonic() < end, (self.pacs.asked, aside.listed())
                meanwhile(aside)
                await asyncio.sleep(0.005)
            stop.set()
            await running

        with closing(Checkpoint(self.state)) as checkpoint, closing(Aside(path_beside(self.state), make=True)) as aside:
            asyncio.run(main(checkpoint, aside))
            self.last = checkpoint.last
            self.listed = aside.listed()

    def checkpoint(self) -> int:
        """The change in the state file, -1 where there is none."""
        return int(json.loads(self.state.read_text())["last_change"]) if self.state.exists() else -1

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"cxr_forward_{name}", labels)


def test_a_film_that_fails_again_and_again_holds_nobody_up(tmp_path: Path) -> None:
    """Not even with one film in flight, and though the service is well but for it."""
    pacs = Pacs(["bad", "good", "better"], lambda name, _: BUSY if name == "bad" else REPORT)
    bench = Bench(tmp_path, pacs)
    bench.run(lambda aside: len(pacs.reports) == 2 and pacs.asked.count("bad") > retry_module.FAULT_ATTEMPTS + 3)
    assert pacs.reports == ["good", "better"]
    assert bench.last == 3
    (film,) = bench.listed
    assert (film.instance, film.change, film.status) == ("bad", 1, 503)
    assert (film.reason, film.request_id) == ("decoding-unavailable", "0" * 32)
    assert film.next_try is not None
    assert film.tries > 3
    assert (bench.value("postponed_films"), bench.value("given_up_films")) == (1, 0)
    assert bench.value("instances_total", outcome="failed") == 0


def test_what_was_busy_is_scored_when_it_is_not_and_leaves_the_list(tmp_path: Path) -> None:
    pacs = Pacs(["late"], lambda _, nth: REPORT if nth >= retry_module.FAULT_ATTEMPTS + 2 else BUSY)
    bench = Bench(tmp_path, pacs)
    bench.run(lambda aside: bool(pacs.reports) and aside.count() == (0, 0))
    assert bench.listed == []
    assert bench.value("instances_total", outcome="stored") == 1
    assert bench.value("postponed_films") == 0


def test_a_film_that_fails_for_too_long_is_given_up_with_the_reason(tmp_path: Path) -> None:
    pacs = Pacs(["bad"], lambda *_: BUSY)
    bench = Bench(tmp_path, pacs, give_up_seconds=0.3)
    began = time.time()
    bench.run(lambda aside: aside.count() == (0, 1))
    (film,) = bench.listed
    assert film.next_try is None
    assert film.last - film.first >= 0.3
    assert film.first >= began
    assert film.reason == "decoding-unavailable"
    assert bench.value("given_up_total", reason="decoding-unavailable") == 1
    assert bench.value("instances_total", outcome="failed") == 1
    assert (bench.value("postponed_films"), bench.value("given_up_films")) == (0, 1)
    asked = len(pacs.asked)
    bench.run(lambda _: bench.last == 1)
    assert len(pacs.asked) == asked  # nor at the next start


def test_a_refusal_is_final_at_once_and_listed(tmp_path: Path) -> None:
    pacs = Pacs(["lateral", "good"], lambda name, _: UNSUITABLE if name == "lateral" else REPORT)
    bench = Bench(tmp_path, pacs)
    bench.run(lambda aside: bool(pacs.reports))
    (film,) = bench.listed
    assert (film.instance, film.change, film.tries) == ("lateral", 1, 1)
    assert (film.status, film.reason, film.request_id) == (400, "unsuitable-image", "1" * 32)
    assert film.next_try is None
    assert pacs.asked.count("lateral") == 1
    assert bench.value("given_up_total", reason="unsuitable-image") == 1
    assert bench.value("instances_total", outcome="refused") == 1


def test_the_list_is_bounded_and_what_leaves_it_is_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"lateral {number}" for number in range(7)]
    pacs = Pacs([*names, "good"], lambda name, _: REPORT if name == "good" else UNSUITABLE)
    bench = Bench(tmp_path, pacs, keep_given_up=3)
    bench.run(lambda aside: bool(pacs.reports))
    assert [film.instance for film in bench.listed] == names[4:]
    assert bench.value("given_up_films") == 3
    assert bench.value("given_up_dropped_total") == 4
    assert bench.value("given_up_total", reason="unsuitable-image") == 7
    dropped = [record for record in caplog.records if "dropped from the list" in record.message]
    assert [record.__dict__["change"] for record in dropped] == [1, 2, 3, 4]
    assert not any("lateral" in str(record.__dict__) for record in dropped)  # Orthanc's names are not for logs


def test_a_lower_limit_holds_from_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Pacs([], lambda *_: REPORT), keep_given_up=2)
    with closing(Aside(path_beside(bench.state), make=True)) as aside:
        for number in range(5):
            aside.put(FilmSetAside(str(number), number, 0.0, float(number), 1, 400, "malformed-image", "none", None))
    bench.run(lambda aside: aside.count() == (0, 2))
    assert [film.instance for film in bench.listed] == ["3", "4"]
    assert bench.value("given_up_dropped_total") == 3


def test_a_film_that_a_person_has_tried_again(tmp_path: Path) -> None:
    """By a command while the forwarder runs: refused again it is listed again, and scored it is not."""
    pacs = Pacs(["lateral"], lambda _, nth: UNSUITABLE if nth < 2 else REPORT)
    bench = Bench(tmp_path, pacs)
    with closing(Aside(path_beside(bench.state), make=True)) as command:
        bench.run(
            lambda aside: bool(pacs.reports) and not aside.listed(),
            lambda _: command.try_again([film for film in command.listed() if not film.next_try], time.time()),
        )
    assert pacs.asked == ["lateral"] * 3
    assert bench.value("given_up_total", reason="unsuitable-image") == 2
    assert bench.listed == []


def test_a_film_set_aside_that_orthanc_has_no_more_leaves_the_list(tmp_path: Path) -> None:
    pacs = Pacs(["other"], lambda *_: REPORT)
    bench = Bench(tmp_path, pacs)
    with closing(Aside(path_beside(bench.state), make=True)) as aside:
        aside.put(FilmSetAside("deleted", 1, 0.0, 0.0, 1, 503, "decoding-unavailable", "none", 0.0))
    bench.run(lambda aside: aside.count() == (0, 0) and bool(pacs.reports))
    assert pacs.asked == ["other"]


def test_a_service_that_is_away_is_waited_for_and_no_film_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = Pacs(["one", "two"], lambda name, nth: Passing("away") if name == "one" and nth < 30 else REPORT)
    bench = Bench(tmp_path, pacs)
    monkeypatch.setattr(retry_module, "MOST_SECONDS", 0.005)
    bench.run(lambda aside: len(pacs.reports) == 2)
    assert pacs.reports == ["one", "two"]
    assert bench.listed == []


def test_a_longer_wait_that_is_asked_for_frees_the_place_at_once(tmp_path: Path) -> None:
    pacs = Pacs(["bad", "good"], lambda name, _: Fault("503", "x", 503, "none", 1000.0) if name == "bad" else REPORT)
    bench = Bench(tmp_path, pacs)
    bench.run(lambda aside: bool(pacs.reports))
    (film,) = bench.listed
    assert film.next_try is not None
    assert film.next_try - film.last == pytest.approx(1000.0)
    assert pacs.asked.count("bad") == 1


def test_a_list_that_cannot_be_written_stops_the_forwarder_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Misconfigured("full")

    pacs = Pacs(["lateral"], lambda *_: UNSUITABLE)
    bench = Bench(tmp_path, pacs)
    put = Aside.put
    monkeypatch.setattr(Aside, "put", full)
    with pytest.raises(ExceptionGroup) as raised:
        bench.run(lambda aside: False)
    monkeypatch.setattr(Aside, "put", put)
    assert raised.group_contains(Misconfigured)
    bench.run(lambda aside: aside.count() == (0, 1))  # and so it comes again
    assert pacs.asked == ["lateral", "lateral"]


@pytest.mark.parametrize("tries", [0, 1, 3, 100])
def test_waits_double_up_to_an_hour_with_jitter(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    monkeypatch.undo()
    full = min(MOST_POSTPONED_SECONDS, POSTPONED_SECONDS * 2.0**tries)
    assert full / 2 <= postponed_seconds(tries) <= full
