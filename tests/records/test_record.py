"""The record: what is in it, who may read it, and that neither threads, processes nor a kill spoil it."""

from __future__ import annotations

import asyncio
import hmac
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.pipeline import DecodedImage, Verdict
from app.records import Record, RecordKey, RecordUnavailable, Repeats, Subject, open_record
from app.records.key import KeyFileError
from app.settings import SettingsError

ROOT = Path(__file__).resolve().parents[2]
UID = "1.2.826.0.1.3680043.8.498.1"


def verdict(seed: int = 0, accepted: bool = True) -> Verdict:
    generator = np.random.default_rng(seed)
    return Verdict(accepted, float(generator.normal(2000, 300)), generator.random(14) if accepted else None)


def image(seed: int = 0) -> DecodedImage:
    return DecodedImage(np.random.default_rng(seed).random((8, 6), dtype=np.float32), "dicom")


def subject(record: Record, seed: int = 0) -> Subject:
    return Subject(record.key.of_uid(UID), record.key.of_pixels(image(seed).pixels), "model")


def same(left: Verdict | None, right: Verdict) -> bool:
    assert left is not None
    assert (left.accepted, left.log_density) == (right.accepted, right.log_density)
    return np.array_equal(left.probabilities, right.probabilities)  # to the bit, or both None


@pytest.fixture(params=["file", "memory"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/state/record.sqlite"
    opened = open_record(url, tmp_path / "state" / "record.key")
    yield opened
    opened.close()


def test_a_verdict_comes_out_as_it_went_in(record: Record) -> None:
    assert record.find(subject(record)) is None
    for seed, accepted in ((0, True), (1, False)):
        given = verdict(seed, accepted)
        assert same(record.keep(subject(record, seed), given, "request"), given)
        assert same(record.find(subject(record, seed)), given)


def test_another_uid_model_or_pixel_is_another_subject(record: Record) -> None:
    known = subject(record)
    record.keep(known, verdict(), "request")
    assert record.find(known._replace(model_version="other")) is None
    assert record.find(known._replace(instance_hash=record.key.of_uid(UID + "0"))) is None
    pixels = image().pixels.copy()
    pixels[3, 3] = np.nextafter(pixels[3, 3], np.float32(1))
    assert record.find(known._replace(pixels_hash=record.key.of_pixels(pixels))) is None


def test_the_earliest_decision_holds(record: Record) -> None:
    record.keep(subject(record), verdict(1), "first")
    assert same(record.keep(subject(record), verdict(2), "second"), verdict(1))
    assert same(record.find(subject(record)), verdict(1))


def test_many_threads_lose_nothing(record: Record) -> None:
    def write(seed: int) -> bool:
        mine = Subject(record.key.of_uid(f"1.{seed}"), "0" * 64, "model")
        record.keep(mine, verdict(seed), "request")
        return same(record.find(mine), verdict(seed))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(80)))


def test_two_processes_may_share_a_file(tmp_path: Path) -> None:
    first, second = (open_record(f"sqlite:///{tmp_path}/r.sqlite", tmp_path / "key") for _ in range(2))
    with ThreadPoolExecutor(2) as pool:
        kept = list(
            pool.map(lambda each: each[0].keep(subject(first), verdict(each[1]), "r"), [(first, 1), (second, 2)])
        )
    assert same(kept[0], kept[1])
    assert same(second.find(subject(second)), kept[0])
    for opened in (first, second):
        opened.close()


# Privacy.


def test_the_file_holds_no_identifier_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    opened = open_record(f"sqlite:///{tmp_path}/state/record.sqlite", tmp_path / "state" / "record.key")
    opened.keep(subject(opened), verdict(), "request")
    files = list((tmp_path / "state").iterdir())
    assert {path.name for path in files} >= {"record.sqlite", "record.key"}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600, path.name
        assert UID.encode() not in path.read_bytes()
    with sqlite3.connect(tmp_path / "state" / "record.sqlite") as connection:
        (row,) = connection.execute("SELECT instance_hash, pixels_hash FROM decisions")
    connection.close()
    assert row == (subject(opened).instance_hash, subject(opened).pixels_hash)
    opened.close()


def test_hashes_need_the_key_and_tell_kinds_apart() -> None:
    key, other = RecordKey(bytes(32)), RecordKey(bytes(31) + b"\1")
    assert key.of_uid(UID) == RecordKey(bytes(32)).of_uid(UID) != other.of_uid(UID)
    pixels = np.zeros((4, 6), np.float32)
    assert key.of_pixels(pixels) != key.of_pixels(pixels.reshape(6, 4))
    assert key.of_pixels(pixels) == key.of_pixels(np.asfortranarray(pixels))
    assert key.of_uid(UID) == hmac.digest(bytes(32), b"SOPInstanceUID\0" + UID.encode(), "sha256").hex()


def test_a_key_file_is_made_once_by_whoever_is_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(RecordKey.from_file, [path] * 16))
    assert len({key.of_uid(UID) for key in keys}) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("00" * 32, 0o644, "chmod 600"),
        ("00" * 31, 0o600, "digits"),
        ("", 0o600, "digits"),
        ("zz" * 32, 0o600, "digits"),
    ],
)
def test_a_key_file_that_cannot_serve_is_refused(tmp_path: Path, content: str, mode: int, said: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=said):
        RecordKey.from_file(path)
    with pytest.raises(SettingsError, match="CXR_RECORD_KEY_FILE"):
        open_record(f"sqlite:///{tmp_path}/record.sqlite", path)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////proc/none/record.sqlite", "oracle://x", "nosuch://x"])
def test_a_database_that_cannot_be_opened_is_refused_with_the_settings_name(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="CXR_RECORD_URL"):
        open_record(url, tmp_path / "key")


def test_a_database_that_breaks_is_unavailable_and_shows_no_value(tmp_path: Path) -> None:
    opened = open_record(f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key")
    with sqlite3.connect(tmp_path / "record.sqlite") as connection:
        connection.execute("DROP TABLE decisions")
    connection.close()
    for ask in (lambda: opened.find(subject(opened)), lambda: opened.keep(subject(opened), verdict(), "request")):
        with pytest.raises(RecordUnavailable) as caught:
            ask()
        assert subject(opened).instance_hash not in str(caught.value) + str(caught.value.__cause__)
    opened.close()


# Repeats.


def judging(results: list[Verdict | Exception], calls: list[int]):
    async def judge() -> Verdict:
        calls.append(1)
        await asyncio.sleep(0.05)
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    return judge


def test_twins_at_the_same_moment_are_judged_once(record: Record) -> None:
    async def run() -> None:
        repeats, calls = Repeats(record, "model"), list[int]()
        judge = judging([verdict(1), verdict(2)], calls)
        answers = await asyncio.gather(*(repeats.verdict(UID, image(), "request", judge) for _ in range(20)))
        assert len(calls) == 1
        assert sorted(answer.from_record for answer in answers) == [False] + [True] * 19
        assert all(same(answer.verdict, verdict(1)) for answer in answers)
        assert not repeats._turns

    asyncio.run(run())


def test_when_the_first_fails_or_leaves_the_next_takes_its_turn(record: Record) -> None:
    async def run() -> None:
        repeats, calls = Repeats(record, "model"), list[int]()
        judge = judging([ValueError("device"), verdict(2)], calls)
        tasks = [asyncio.create_task(repeats.verdict(UID, image(), "request", judge)) for _ in range(4)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results].count("ValueError") == 1
        assert len(calls) == 2

        calls.clear()
        judge = judging([verdict(3)], calls)
        tasks = [asyncio.create_task(repeats.verdict(UID, image(3), "request", judge)) for _ in range(3)]
        while not calls:
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        _, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(other.from_record for other in others) == [False, True]  # type: ignore[union-attr]
        assert not repeats._turns

    asyncio.run(run())


def test_different_films_do_not_wait_for_each_other(record: Record) -> None:
    async def run() -> float:
        repeats, calls = Repeats(record, "model"), list[int]()
        judge = judging([verdict(seed) for seed in range(10)], calls)
        started = time.monotonic()
        await asyncio.gather(*(repeats.verdict(UID, image(seed), "request", judge) for seed in range(10)))
        return time.monotonic() - started

    assert asyncio.run(run()) < 10 * 0.05


# Kill.

WRITER = """
import sys
from pathlib import Path
import numpy as np
from app.pipeline import Verdict
from app.records import Subject, open_record
record = open_record(sys.argv[1], Path(sys.argv[2]))
for number in range(int(sys.argv[3]), 10**9):
    record.keep(Subject(f"{number:064d}", "0" * 64, "model"), Verdict(True, float(number), np.full(14, 0.5)), "request")
    print(number, flush=True)
"""


def test_what_was_kept_survives_a_kill(tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key"
    randomness, number = random.Random(4), 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(key), str(number)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        time.sleep(randomness.uniform(0.0, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        said += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        opened = open_record(url, key)
        for line in said:
            if line.endswith("\n"):
                number = int(line)
                kept = opened.find(Subject(f"{number:064d}", "0" * 64, "model"))
                assert kept is not None
                assert kept.log_density == number
        opened.close()
        with sqlite3.connect(tmp_path / "record.sqlite") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        number += 1
