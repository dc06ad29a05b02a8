"""``cxr-gate given-up``: the list as an operator sees it, and what may be done with it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from app.forward.aside import Aside, FilmSetAside, path_beside
from app.forward.given_up import COLUMNS, add_command, run
from tests.support.processes import run_command

SAID = "2026-01-02T03:04:05Z"
REFUSED = FilmSetAside("a1", 7, 0.0, 1767323045.0, 1, 400, "malformed-image", "0" * 32, None)
LATE = replace(REFUSED, instance="b2", change=8, status=0, reason="no-answer", request_id="none", tries=26)
WAITING = replace(LATE, instance="c3", change=9, status=503, reason="decoding-unavailable", next_try=1767323105.0)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "forward.json"


@pytest.fixture
def aside(state: Path) -> Iterator[Aside]:
    with closing(Aside(path_beside(state), make=True)) as made:
        for film in (REFUSED, LATE, WAITING):
            made.put(film)
        yield made


def given_up(*arguments: str, **environment: str) -> int:
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers(), environment)
    return run(parser.parse_args(["given-up", *arguments]))


def table(capsys: pytest.CaptureFixture[str]) -> tuple[list[list[str]], str]:
    told = capsys.readouterr()
    head, *rows = [line.split("\t") for line in told.out.splitlines()]
    assert head == list(COLUMNS)
    return rows, told.err


def test_it_lists_when_which_and_why(aside: Aside, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert given_up(CXR_FORWARD_STATE=str(state)) == 0
    rows, summary = table(capsys)
    assert rows == [
        [SAID, "given up", "1", "400", "malformed-image", "a1", "7", "0" * 32],
        [SAID, "given up", "26", "none", "no-answer", "b2", "8", "none"],
        [SAID, "2026-01-02T03:05:05Z", "26", "503", "decoding-unavailable", "c3", "9", "none"],
    ]
    assert summary == "2 given up on, 1 set aside to be tried again\n"
    assert aside.listed() == [REFUSED, LATE, WAITING]


def test_all_are_tried_again(aside: Aside, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert given_up("--state", str(state), "--retry") == 0
    assert "2 given up on, 1 set aside to be tried again; all will be tried again" in table(capsys)[1]
    assert {film.instance for film in aside.due(time.time())} == {"a1", "b2", "c3"}


def test_those_of_a_reason_are_tried_again(aside: Aside, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert given_up("--state", str(state), "--reason", "no-answer", "--retry") == 0
    assert [row[5] for row in table(capsys)[0]] == ["b2"]
    assert aside.find("a1") == REFUSED
    assert [film.instance for film in aside.due(time.time()) if film.tries == 0] == ["b2"]


def test_only_what_is_given_up_is_forgotten(aside: Aside, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert given_up("--state", str(state), "--forget", "a1", "c3") == 0
    assert "those given up on are forgotten" in table(capsys)[1]
    assert aside.listed() == [LATE, WAITING]


def test_what_the_list_has_no_room_for_is_told(aside: Aside, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aside.trim(1)
    assert given_up("--state", str(state)) == 0
    rows, summary = table(capsys)
    assert [row[5] for row in rows] == ["b2", "c3"]  # the refused one went
    assert "1 given up on earlier are no longer listed; the forwarder's log has them" in summary


def test_a_film_that_is_not_there_is_said(aside: Aside, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert given_up("--state", str(state), "--retry", "a1", "d4") == 1
    assert "1 of the films named are not on the list" in table(capsys)[1]


def test_it_is_a_command_of_its_own_and_says_where_there_is_no_list(state: Path) -> None:
    done = run_command("given-up", "--state", str(state))
    assert done.returncode == 1
    assert done.stderr == "cxr-gate: no forwarder has run with this --state, so it has given up on no film\n"
    assert "treat the list as you treat those" in run_command("given-up", "--help").stdout
