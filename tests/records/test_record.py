"""The record: what is in it, who may read it, and what is answered from it."""

from __future__ import annotations

import asyncio
import hmac
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.pipeline import Verdict
from app.pipeline.labels import LABELS
from app.records import DecisionSubject, Recalled, Record, RecordKey, RecordUnavailable, Repeats, open_record
from app.records.key import KeyFileError
from app.settings import SettingsError
from tests.records.making import UID, decision, execute, image, keep, same, subject, verdict


def test_a_verdict_comes_out_as_it_went_in(record: Record) -> None:
    assert record.find(subject(record.key)) is None
    for seed, accepted in ((0, True), (1, False)):
        given = verdict(seed, accepted)
        answer = keep(record, subject(record.key, seed), given)
        assert same(answer.verdict, given)
        assert not answer.from_record
        assert same(record.find(subject(record.key, seed)), given)


def test_another_uid_model_or_pixel_is_another_subject(record: Record) -> None:
    known = subject(record.key)
    keep(record, known, verdict())
    assert record.find(known._replace(model_version="other")) is None
    assert record.find(known._replace(instance_hash=record.key.of_uid(UID + "0"))) is None
    pixels = image().pixels.copy()
    pixels[3, 3] = np.nextafter(pixels[3, 3], np.float32(1))
    assert record.find(known._replace(pixels_hash=record.key.of_pixels(pixels))) is None


def test_the_earliest_decision_holds(record: Record) -> None:
    about = subject(record.key)
    first, second = (keep(record, about, verdict(seed), earliest_holds=True) for seed in (1, 2))
    assert (first.from_record, second.from_record) == (False, True)
    assert same(second.verdict, verdict(1))
    # Within one transaction too.
    other = subject(record.key, 5)
    answers, head = record.write([decision(other, verdict(seed), earliest_holds=True) for seed in (3, 4)])
    assert [answer.from_record for answer in answers] == [False, True]
    assert all(same(answer.verdict, verdict(3)) for answer in answers)
    assert same(record.find(other), verdict(3))
    assert head == record.head()
    assert head.id == 4


def test_where_repeats_are_not_asked_for_each_is_its_own_decision(record: Record) -> None:
    about = DecisionSubject(None, record.key.of_pixels(image().pixels), "model")
    for seed in (1, 2):
        answer = keep(record, about, verdict(seed), source_kind="png")
        assert same(answer.verdict, verdict(seed))
        assert not answer.from_record


@pytest.mark.parametrize(
    ("before", "now", "from_record"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False), (None, True, False)],
    ids=["accepted twice", "rejected now", "rejected before", "rejected twice", "never seen"],
)
def test_only_a_film_that_was_accepted_and_is_accepted_is_explained(
    record: Record, before: bool | None, now: bool, from_record: bool
) -> None:
    """All else is a decision, which the next repeat may be answered from."""
    about = subject(record.key)
    if before is not None:
        keep(record, about, verdict(1, before))
    answer = keep(record, about, verdict(2, now), explains=True)
    assert answer.from_record is from_record
    assert answer.verdict.accepted is now
    assert len(record.decided({}, None, 10)) == (before is not None) + (not from_record)
    assert not record.verify().faults


def test_an_explanation_is_no_decision_to_answer_from(record: Record) -> None:
    about = subject(record.key)
    keep(record, about, verdict(1))
    keep(record, about, verdict(2), explains=True)
    assert same(record.find(about), verdict(1))
    assert keep(record, about, verdict(3), earliest_holds=True).from_record
    assert [each.repeated for each in record.decided({}, None, 10)] == [True, False]  # newest first


def test_many_threads_lose_nothing_and_fork_no_chain(record: Record) -> None:
    def write(seed: int) -> bool:
        mine = DecisionSubject(record.key.of_uid(f"1.{seed}"), "0" * 64, "model")
        keep(record, mine, verdict(seed))
        return same(record.find(mine), verdict(seed))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(80)))
    verified = record.verify()
    assert (verified.faults, verified.count) == ([], 80)


def test_two_may_share_a_file(tmp_path: Path) -> None:
    first, second = (open_record(f"sqlite:///{tmp_path}/r.sqlite", tmp_path / "key") for _ in range(2))
    about = subject(first.key)
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda each: keep(each[0], about, verdict(each[1]), earliest_holds=True), [(first, 1), (second, 2)]
            )
        )
    assert same(answers[0].verdict, answers[1].verdict)
    assert same(second.find(about), answers[0].verdict)
    for opened in (first, second):
        opened.close()


def test_a_verdict_that_was_put_in_is_not_answered(tmp_path: Path) -> None:
    """Whoever can write to the database, and has no key, cannot turn a rejection into an acceptance."""
    opened = open_record(f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key")
    about = subject(opened.key)
    keep(opened, about, verdict(1, accepted=False))
    execute(
        tmp_path / "record.sqlite", f"UPDATE entries SET verdict = 'accepted', probabilities = '{[0.1] * len(LABELS)}'"
    )
    assert opened.find(about) is None
    assert same(keep(opened, about, verdict(2, accepted=False), earliest_holds=True).verdict, verdict(2, False))
    opened.close()


# Privacy.


def test_the_file_holds_no_identifier_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    opened = open_record(f"sqlite:///{tmp_path}/state/record.sqlite", tmp_path / "state" / "record.key")
    keep(opened, subject(opened.key), verdict())
    files = list((tmp_path / "state").iterdir())
    assert {path.name for path in files} >= {"record.sqlite", "record.key"}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600, path.name
        assert UID.encode() not in path.read_bytes()
    (row,) = execute(tmp_path / "state" / "record.sqlite", "SELECT instance_hash, pixels_hash FROM entries")
    assert row == (subject(opened.key).instance_hash, subject(opened.key).pixels_hash)
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


@pytest.mark.parametrize(
    "url", ["nonsense", "sqlite:////proc/none/record.sqlite", "oracle://x", "nosuch://x", "postgresql+nosuch://x"]
)
def test_a_database_that_cannot_be_opened_is_refused_with_the_settings_name(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="CXR_RECORD_URL"):
        open_record(url, tmp_path / "key")


def test_a_database_that_breaks_is_unavailable_and_shows_no_value(tmp_path: Path) -> None:
    opened = open_record(f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key")
    about = subject(opened.key)
    execute(tmp_path / "record.sqlite", "DROP TABLE entries")
    for ask in (lambda: opened.find(about), lambda: keep(opened, about, verdict()), lambda: opened.verify()):
        with pytest.raises(RecordUnavailable) as caught:
            ask()
        assert str(about.instance_hash) not in str(caught.value) + str(caught.value.__cause__)
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


def kept_in(record: Record, seed: int = 0):
    async def keep_it(given: Verdict) -> Recalled:
        return await asyncio.to_thread(keep, record, subject(record.key, seed), given, earliest_holds=True)

    return keep_it


async def answered(repeats: Repeats, about: DecisionSubject, judge, keep_it) -> Recalled:
    async with repeats.turn(about) as known:
        return await keep_it(await judge() if known is None else known)


def test_twins_at_the_same_moment_are_judged_once(record: Record) -> None:
    async def run() -> None:
        repeats, calls = Repeats(record), list[int]()
        judge = judging([verdict(1), verdict(2)], calls)
        answers = await asyncio.gather(
            *(answered(repeats, subject(record.key), judge, kept_in(record)) for _ in range(20))
        )
        assert len(calls) == 1
        assert sorted(answer.from_record for answer in answers) == [False] + [True] * 19
        assert all(same(answer.verdict, verdict(1)) for answer in answers)
        assert not repeats._turns

    asyncio.run(run())


def test_when_the_first_fails_or_leaves_the_next_takes_its_turn(record: Record) -> None:
    async def run() -> None:
        repeats, calls = Repeats(record), list[int]()
        judge = judging([ValueError("device"), verdict(2)], calls)
        tasks = [asyncio.create_task(answered(repeats, subject(record.key), judge, kept_in(record))) for _ in range(4)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results].count("ValueError") == 1
        assert len(calls) == 2

        calls.clear()
        judge = judging([verdict(3)], calls)
        about = subject(record.key, 3)
        held = kept_in(record, 3)
        tasks = [asyncio.create_task(answered(repeats, about, judge, held)) for _ in range(3)]
        while not calls:
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        _, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(other.from_record for other in others) == [False, True]  # type: ignore[union-attr]
        assert not repeats._turns

    asyncio.run(run())


def test_different_films_do_not_wait_for_each_other(record: Record) -> None:
    async def run() -> None:
        repeats, judged = Repeats(record), asyncio.Barrier(10)

        async def judge() -> Verdict:
            async with asyncio.timeout(30):
                await judged.wait()  # until all ten are being judged
            return verdict()

        about = [subject(record.key, seed) for seed in range(10)]
        held = [kept_in(record, seed) for seed in range(10)]
        await asyncio.gather(*(answered(repeats, *each) for each in zip(about, [judge] * 10, held, strict=True)))

    asyncio.run(run())
