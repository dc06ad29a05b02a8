"""The checkpoint: never past what is not done, whole after any crash, one owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.forward.checkpoint import Checkpoint, Progress
from app.forward.errors import Misconfigured


@given(st.data())
def test_settled_is_the_last_before_the_first_that_is_in_hand(data: st.DataObject) -> None:
    """Against the plain definition, for any order of beginning and finishing."""
    sequences = sorted(data.draw(st.sets(st.integers(1, 10**6), max_size=30)))
    progress, begun, finished = Progress(0), [0], {0}
    while sequences or len(finished) < len(begun):
        in_hand = [number for number in begun if number not in finished]
        if sequences and (not in_hand or data.draw(st.booleans())):
            begun.append(sequences.pop(0))
            progress.begin(begun[-1])
        else:
            finished.add(done := data.draw(st.sampled_from(in_hand)))
            progress.finish(done)
        open_ones = [number for number in begun if number not in finished]
        assert progress.settled == (min(open_ones) - 1 if open_ones else begun[-1])
        assert all(number in finished for number in begun if number <= progress.settled)


def test_it_is_kept(tmp_path: Path) -> None:
    for last in (None, 7, 8):
        checkpoint = Checkpoint(tmp_path / "state.json")
        assert checkpoint.last == last
        checkpoint.save((last or 6) + 1)
        checkpoint.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.json.lock"]


def test_a_crash_leaves_a_whole_file(tmp_path: Path) -> None:
    """kill -9 of a process that does nothing but save: the file is always one that was saved, and is free at once."""
    path = tmp_path / "state.json"
    code = (
        "import itertools, sys; from pathlib import Path; from app.forward.checkpoint import Checkpoint\n"
        "kept = Checkpoint(Path(sys.argv[1])); print(flush=True)\n"
        "for number in itertools.count(kept.last or 0): kept.save(number)"
    )
    last = -1
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process, process.stdout:
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
            process.send_signal(signal.SIGKILL)
        checkpoint = Checkpoint(path)
        assert checkpoint.last is not None
        assert checkpoint.last >= last
        last = checkpoint.last
        checkpoint.close()
    assert last > 0


def test_it_has_one_owner(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path / "state.json")
    with pytest.raises(Misconfigured, match="another forwarder"):
        Checkpoint(tmp_path / "state.json")
    first.close()
    Checkpoint(tmp_path / "state.json").close()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", '{"last_change": 7}', '{"format_version": 2, "last_change": 7}'),
        *('{"format_version": 1, "last_change": -1}', '{"format_version": 1, "last_change": "7"}', "\xff"),
    ],
)
def test_a_file_that_is_no_state_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Misconfigured, match="not a forwarder's state"):
        Checkpoint(path)
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("place", [lambda t: t / "no" / "state.json", lambda t: t], ids=["no folder", "a folder"])
def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    with pytest.raises(Misconfigured, match="--state"):
        Checkpoint(place(tmp_path))


def test_a_full_disk_stops_it_and_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "state.json")
    checkpoint.save(7)

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Misconfigured, match="No space left"):
        checkpoint.save(8)
    assert checkpoint.last == 7
    checkpoint.close()
    reopened = Checkpoint(tmp_path / "state.json")
    assert reopened.last == 7
    reopened.close()
