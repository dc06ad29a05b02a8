"""The list of films set aside: whole after any crash, shared with a command, for its owner alone."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.forward.aside import Aside, FilmSetAside, path_beside
from app.forward.errors import Misconfigured

WAITING = FilmSetAside("a1", 7, 100.0, 200.0, 2, 503, "decoding-unavailable", "0" * 32, 300.0)
GIVEN_UP = replace(WAITING, instance="b2", change=8, status=400, reason="malformed-image", next_try=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return path_beside(tmp_path / "forward.json")


@pytest.fixture
def aside(path: Path) -> Iterator[Aside]:
    with closing(Aside(path, make=True)) as made:
        yield made


def test_what_was_put_is_there_and_after_a_restart(aside: Aside, path: Path) -> None:
    aside.put(GIVEN_UP)
    aside.put(WAITING)
    assert aside.listed() == [WAITING, GIVEN_UP]
    assert aside.count() == (1, 1)
    aside.close()
    with closing(Aside(path, make=True)) as again:
        assert again.listed() == [WAITING, GIVEN_UP]
        assert again.find("a1") == WAITING
        assert again.find("c3") is None
        again.put(replace(WAITING, tries=3))
        assert again.find("a1") == replace(WAITING, tries=3)
        again.remove("a1")
        again.remove("a1")
        assert again.listed() == [GIVEN_UP]


def test_it_is_for_its_owner_alone(aside: Aside, path: Path) -> None:
    aside.put(WAITING)
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()] == [0o600]


def test_what_is_due(aside: Aside) -> None:
    later = replace(WAITING, instance="c3", next_try=301.0)
    for film in (later, GIVEN_UP, WAITING):
        aside.put(film)
    assert [aside.due(now) for now in (299.0, 300.0, 1e9)] == [[], [WAITING], [WAITING, later]]


def test_it_is_listed_by_name_and_by_reason(aside: Aside) -> None:
    for film in (WAITING, GIVEN_UP):
        aside.put(film)
    assert aside.listed(["b2", "c3"]) == [GIVEN_UP]
    assert aside.listed(reason="decoding-unavailable") == [WAITING]
    assert aside.listed(["b2"], "decoding-unavailable") == []


def test_a_person_has_films_tried_again_or_forgotten(aside: Aside) -> None:
    for film in (WAITING, GIVEN_UP):
        aside.put(film)
    aside.try_again([GIVEN_UP, replace(GIVEN_UP, instance="gone")], 500.0)
    tried = replace(GIVEN_UP, first=500.0, tries=0, next_try=500.0)
    assert aside.listed() == [WAITING, tried]
    aside.forget([WAITING, tried])  # these are not given up on
    assert aside.count() == (2, 0)
    aside.put(GIVEN_UP)
    aside.forget([GIVEN_UP])
    assert aside.listed() == [WAITING]


def test_a_full_list_drops_the_oldest_refusals_before_films_that_failed(aside: Aside, path: Path) -> None:
    failed = [replace(GIVEN_UP, instance=f"f{n}", last=n, status=504, reason="deadline-passed") for n in range(3)]
    refused = [replace(GIVEN_UP, instance=f"r{n}", last=10.0 + n) for n in range(4)]
    away = replace(
        GIVEN_UP, instance="o", last=5.0, status=400, reason="orthanc"
    )  # a fault of Orthanc's, not a refusal
    for film in [WAITING, *failed, *refused, away]:
        aside.put(film)
    assert aside.trim(8) == []
    assert aside.dropped() == 0
    assert {film.instance for film in aside.trim(6)} == {"r0", "r1"}
    assert {film.instance for film in aside.trim(3)} == {"r2", "r3", "f0"}
    assert aside.listed() == [failed[1], failed[2], away, WAITING]
    aside.close()
    with closing(Aside(path, make=True)) as again:
        assert again.dropped() == 5
        assert again.trim(3) == []


def execute(path: Path, statement: str) -> None:
    """As another program does it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_list_of_an_earlier_version_has_dropped_nothing(aside: Aside, path: Path) -> None:
    aside.put(GIVEN_UP)
    aside.close()
    execute(path, "DROP TABLE dropped")
    with closing(Aside(path, make=False)) as again:
        assert (again.dropped(), again.listed()) == (0, [GIVEN_UP])


def test_a_disk_that_fills_while_the_list_is_trimmed_leaves_it_as_it_was(aside: Aside, path: Path) -> None:
    for film in (GIVEN_UP, replace(GIVEN_UP, instance="c3")):
        aside.put(film)
    execute(path, "CREATE TRIGGER full BEFORE INSERT ON dropped BEGIN SELECT RAISE(FAIL, 'full'); END")
    with pytest.raises(Misconfigured, match="full"):
        aside.trim(1)
    assert aside.count() == (0, 2)
    execute(path, "DROP TRIGGER full")
    assert len(aside.trim(1)) == 1


def test_two_may_use_it_at_once(aside: Aside, path: Path) -> None:
    with closing(Aside(path, make=False)) as command:
        aside.put(GIVEN_UP)
        command.try_again([GIVEN_UP], 5.0)
        assert [film.instance for film in aside.due(5.0)] == ["b2"]


def test_a_crash_leaves_what_was_put(path: Path) -> None:
    """kill -9 of a process that does nothing but put: each film of which it said so is there."""
    code = (
        "import itertools, sys; from pathlib import Path; from app.forward.aside import Aside, FilmSetAside\n"
        "aside = Aside(Path(sys.argv[1]), make=True)\n"
        "for number in itertools.count(aside.count()[1]):\n"
        "    aside.put(FilmSetAside(str(number), number, 1.0, 1.0, 1, 400, 'malformed-image', 'none', None))\n"
        "    print(number, flush=True)"
    )
    told = -1
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process, process.stdout:
            told = int(process.stdout.readline())
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
            process.send_signal(signal.SIGKILL)
            told = max([told, *map(int, process.stdout.read().split())])
        with closing(Aside(path, make=False)) as aside:
            numbers = sorted(film.change for film in aside.listed())
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > told
    assert told > 3


def test_there_is_none_before_a_forwarder_made_it(path: Path) -> None:
    with pytest.raises(Misconfigured, match="no forwarder has run with this --state"):
        Aside(path, make=False)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"not a database", b"\0" * 5000])
def test_a_file_that_is_no_list_is_not_guessed_at(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="cannot be used"):
        Aside(path, make=True)
    assert path.read_bytes() == content


def test_a_list_of_a_later_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(Misconfigured, match="later version"):
        Aside(path, make=True)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file or directory"):
        Aside(tmp_path / "no" / "list", make=True)


def test_a_full_disk_is_said_and_keeps_the_old(aside: Aside) -> None:
    pages = aside._connection.execute("PRAGMA page_count").fetchone()[0]
    aside._connection.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(WAITING, reason="x" * 100_000)
    aside.put(WAITING)
    with pytest.raises(Misconfigured, match=r"cannot be used \(database or disk is full\)"):
        aside.put(large)
    assert aside.listed() == [WAITING]
