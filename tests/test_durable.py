"""Files are replaced whole, or stay as they were."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import durable


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old and longer")
    durable.replace(path, b"new ", b"content")
    assert path.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_fails_leaves_the_old_one_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space left"):
        durable.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_a_private_file_was_never_anybody_elses_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = os.fsync

    def look(handle: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    durable.replace(tmp_path / "secret", b"hush", mode=durable.PRIVATE)
    assert seen[0] == 0o600
    assert mode_of(tmp_path / "secret") == 0o600


def test_the_mode_of_the_old_one_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    path.write_bytes(b"old")
    path.chmod(0o640)
    durable.replace(path, b"new", mode=durable.PRIVATE, keep_owner=True)
    assert mode_of(path) == 0o640


def test_of_several_who_create_a_file_one_does(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def make(number: int) -> bool:
        start.wait()
        try:
            durable.create(tmp_path / "key", b"%d" % number)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert sum(made) == 1
    assert (tmp_path / "key").read_bytes() == b"%d" % made.index(True)
    assert os.listdir(tmp_path) == ["key"]


def test_many_who_replace_one_file_never_leave_half_of_it(tmp_path: Path) -> None:
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: durable.replace(tmp_path / "report", content), contents))
    assert (tmp_path / "report").read_bytes() in contents


def test_a_lock_is_one_processes_and_ends_with_it(tmp_path: Path) -> None:
    held = durable.lock(tmp_path)
    with pytest.raises(BlockingIOError):
        durable.lock(tmp_path)
    os.close(held)
    code = f"from pathlib import Path; from app import durable; durable.lock(Path({str(tmp_path)!r})); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(BlockingIOError):
            durable.lock(tmp_path)
        other.kill()
    os.close(durable.lock(tmp_path))
