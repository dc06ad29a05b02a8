"""What the log of changes does not tell is found; and a log that is not what it was is noticed."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.forward import Aside, Books
from app.forward import reconcile as reconcile_module
from app.forward.errors import Misconfigured
from app.forward.history import Anchor, lineage, thinned
from app.forward.orthanc import NEW_INSTANCE, Change, Page, Stored
from tests.forward.test_set_aside import REPORT, UNSUITABLE, Bench, Pacs


class Archive(Pacs):
    """Its log, its films and its reports may be changed as those of a real one are by a restore or a deletion."""

    def __init__(self, *films: str) -> None:
        super().__init__([], lambda *_: REPORT)
        self.log: list[Change] = []
        self.sequence = 0
        self.add(*films)

    def add(self, *names: str) -> None:
        """They come, now; a second later than those before."""
        for name in names:
            self.sequence += 1
            self.log.append(Change(self.sequence, NEW_INSTANCE, name, f"2026-{self.sequence + len(self.asked)}"))
            if name not in self.films:
                self.films.append(name)

    async def changes(self, since: int) -> Page:
        found = tuple(change for change in self.log if change.sequence > since)
        return Page(found, True, found[-1].sequence if found else self.sequence)

    async def last_change(self) -> int:
        return self.sequence

    async def instances(self, offset: int) -> list[str]:
        return sorted([*self.films, *(f"report on {name}" for name in self.reports)])[offset : offset + 2]

    async def modality(self, instance: str) -> str | None:
        return "SR" if instance.startswith("report on ") else await super().modality(instance)

    async def store(self, report: bytes) -> Stored:
        stored = await super().store(report)
        if stored.new:
            self.sequence += 1
            self.log.append(Change(self.sequence, NEW_INSTANCE, stored.instance, f"2026-{self.sequence}"))
        return stored


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_module, "GAP_SECONDS", 0.1)


def forward(bench: Bench, pacs: Archive, *reported: str) -> None:
    """Until these have a report and the log is read to its end."""

    def done(aside: Aside) -> bool:
        return set(reported) <= set(pacs.reports) and bench.checkpoint() == pacs.sequence

    bench.run(done)


def test_what_came_while_the_log_was_cleared_is_found(tmp_path: Path) -> None:
    pacs = Archive("one", "two")
    bench = Bench(tmp_path, pacs)
    forward(bench, pacs, "one", "two")
    pacs.add("lost", "lost too")
    pacs.log.clear()
    bench.run(lambda _: {"lost", "lost too"} <= set(pacs.reports))
    assert sorted(pacs.asked) == ["lost", "lost too", "one", "two"]  # and nothing was asked for twice
    assert bench.value("found_instances_total") >= 2
    assert bench.value("log_lost_timestamp_seconds") == pytest.approx(time.time(), abs=60)


def test_a_log_that_is_cleared_while_it_is_followed(tmp_path: Path) -> None:
    pacs = Archive("one")
    bench = Bench(tmp_path, pacs)
    cleared = False

    def clear(_: Aside) -> None:
        nonlocal cleared
        if not cleared and pacs.reports and bench.checkpoint() == pacs.sequence:
            pacs.add("lost")
            pacs.log.clear()
            cleared = True

    bench.run(lambda _: "lost" in pacs.reports, clear)
    assert pacs.asked.count("one") == 1


def test_an_orthanc_restored_and_run_past_the_checkpoint(tmp_path: Path) -> None:
    """From a backup that has a film without its report; others come until its log is longer than it was."""
    pacs = Archive("first", "unreported")
    bench = Bench(tmp_path, pacs)
    backup = (list(pacs.log), list(pacs.films), pacs.sequence)
    forward(bench, pacs, "first", "unreported")
    pacs.add("after the backup")
    forward(bench, pacs, "after the backup")
    pacs.log, pacs.films, pacs.sequence = (list(backup[0]), list(backup[1]), backup[2])
    pacs.reports.clear()
    pacs.add(*(f"new {n}" for n in range(9)))
    assert pacs.sequence > bench.checkpoint()
    wanted = {"first", "unreported", *(f"new {n}" for n in range(9))}
    forward(bench, pacs, *wanted)
    assert set(pacs.reports) == wanted
    assert bench.value("restored_total") == 1


def test_an_orthanc_restored_while_it_is_followed_and_not_yet_past(tmp_path: Path) -> None:
    pacs = Archive("first", "unreported")
    bench = Bench(tmp_path, pacs)
    restored = False

    def restore(_: Aside) -> None:
        nonlocal restored
        if not restored and {"first", "unreported"} <= set(pacs.reports) and bench.checkpoint() == pacs.sequence:
            pacs.reports.remove("unreported")
            pacs.log = pacs.log[:3]
            pacs.sequence = 3
            restored = True

    bench.run(lambda _: restored and "unreported" in pacs.reports and bench.checkpoint() == pacs.sequence, restore)
    assert bench.value("restored_total") == 1


def test_another_orthanc_stops_it(tmp_path: Path) -> None:
    pacs = Archive("one", "two")
    bench = Bench(tmp_path, pacs)
    forward(bench, pacs, "one", "two")
    other = Archive(*(f"of others {n}" for n in range(20)))
    bench.pacs = other
    with pytest.raises(ExceptionGroup) as raised:
        bench.run(lambda _: False)
    assert raised.group_contains(Misconfigured, match="log of changes is another one")
    assert other.asked == []


def test_films_that_were_deleted_are_no_restore(tmp_path: Path) -> None:
    """With a resource Orthanc deletes its changes, the newest that was read too."""
    pacs = Archive("one", "two")
    bench = Bench(tmp_path, pacs)
    forward(bench, pacs, "one", "two")
    pacs.log = [change for change in pacs.log if "two" not in change.resource]
    pacs.films.remove("two"), pacs.reports.remove("two")
    pacs.add("three")
    forward(bench, pacs, "three")
    assert pacs.asked == ["one", "two", "three"]
    assert bench.value("restored_total") == 0
    assert bench.value("log_lost_timestamp_seconds") == 0


def test_a_report_that_somebody_deletes_is_not_made_again(tmp_path: Path) -> None:
    pacs = Archive("one")
    bench = Bench(tmp_path, pacs)
    bench.options = replace(bench.options, reconcile_seconds=0.05)
    forward(bench, pacs, "one")
    pacs.reports.clear()
    end = time.monotonic() + 1
    bench.run(lambda _: time.monotonic() > end)
    assert pacs.asked == ["one"]


def test_what_is_on_the_list_is_not_found_again(tmp_path: Path) -> None:
    pacs = Archive("lateral")
    pacs.script = lambda *_: UNSUITABLE
    bench = Bench(tmp_path, pacs)
    bench.options = replace(bench.options, reconcile_seconds=0.05)
    end = time.monotonic() + 1
    bench.run(lambda _: time.monotonic() > end)
    assert pacs.asked == ["lateral"]


@pytest.mark.parametrize("start", ["now", "2"])
def test_what_a_start_leaves_out_is_not_found(tmp_path: Path, start: str) -> None:
    pacs = Archive("old", "older")
    bench = Bench(tmp_path, pacs)
    bench.options = replace(bench.options, start=start, reconcile_seconds=0.05)
    end = time.monotonic() + 1
    bench.run(lambda _: time.monotonic() > end)
    assert pacs.asked == []
    pacs.add("new")
    forward(bench, pacs, "new")
    assert pacs.asked == ["new"]


def test_the_state_of_an_earlier_version_takes_in_what_is_there(tmp_path: Path) -> None:
    pacs = Archive("done", "done too", "not yet")
    bench = Bench(tmp_path, pacs)
    bench.state.write_text('{"format_version": 1, "last_change": 2}')
    forward(bench, pacs, "not yet")
    assert pacs.asked == ["not yet"]


@given(st.lists(st.integers(1, 50), max_size=80))
def test_few_anchors_are_kept_and_reach_far_back(steps: list[int]) -> None:
    anchors: tuple[Anchor, ...] = ()
    sequence = 0
    for step in steps:
        sequence += step
        anchors = thinned([*anchors, Anchor(sequence, "")])
        assert anchors[-1].sequence == sequence
        assert len(anchors) <= sequence.bit_length() + 1
        assert list(anchors) == sorted(anchors, key=lambda each: each.sequence)
    if steps:
        assert anchors[0].sequence == steps[0]  # the first that was read stays


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("abcde", "same"),
        ("abcd", "restored"),
        ("abcxyz", "restored"),
        ("abcd-f", "unknown"),
        ("vwxyz", "another"),
        ("", "another"),
    ],
)
def test_lineage(log: str, expected: str) -> None:
    """The log is its changes, - one that was deleted; abcde was read."""
    entries = [Change(n, NEW_INSTANCE, name) for n, name in enumerate(log, 1) if name != "-"]
    read = [Anchor.of(Change(n, NEW_INSTANCE, name)) for n, name in enumerate("abcde", 1)]

    async def changes(since: int) -> Page:
        found = tuple(each for each in entries if each.sequence > since)
        return Page(found, True, found[-1].sequence if found else len(log))

    assert asyncio.run(lineage(read, changes)) == expected


def test_the_books_are_their_owners_alone_and_outlive_their_process(tmp_path: Path) -> None:
    path = tmp_path / "books"
    with closing(Books(path)) as books:
        books.add(["a", "b"], 1.0, "report")
        books.require_thorough()
    with closing(Books(path)) as books:
        books.enter(["a", "c", "report"])
        assert books.missing(thorough=True, most=9) == ["c", "report"]
        books.begin_listing()
        books.enter(["a", "c"])
        assert sorted(books.missing(thorough=True, most=9)) == ["a", "c"]  # the report of a is gone
        assert books.missing(thorough=False, most=9) == ["c"]
        assert books.is_due(0.0, 100.0)
        asked = books.begin(10.0)
        assert asked == 1
        books.require_thorough()  # once more, while it is done
        books.end(asked)
        assert books.begin(10.0) == 1
        books.end(1)
        assert not books.is_due(5.0, 100.0)
        books.hasten(4.0)
        assert books.is_due(5.0, 100.0)
    assert {oct(each.stat().st_mode & 0o777) for each in tmp_path.iterdir()} == {"0o600"}
