"""The writer's thread: what waits goes together, what fails is told, and retention runs beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import supervised
from app.metrics import Metrics
from app.records import Head, Record, RecordUnavailable, Writer, entries, open_record
from tests.records.making import decision, execute, fill, same, subject, verdict


@contextmanager
def writing(record: Record, **options: object) -> Iterator[tuple[Writer, Metrics]]:
    metrics = Metrics()
    writer = Writer(record, metrics, **options)  # type: ignore[arg-type]
    writer.start()
    try:
        yield writer, metrics
    finally:
        writer.stop()


def test_many_at_once_share_transactions(record: Record) -> None:
    async def run(writer: Writer) -> None:
        wanted = [decision(subject(record.key, seed), verdict(seed)) for seed in range(200)]
        answers = await asyncio.gather(*map(writer.keep, wanted))
        assert all(same(answer.verdict, verdict(seed)) for seed, answer in enumerate(answers))

    with writing(record) as (writer, metrics):
        asyncio.run(run(writer))
        transactions = metrics.registry.get_sample_value("cxr_stage_seconds_count", {"stage": "record"})
        assert metrics.registry.get_sample_value("cxr_record_head") == 200
    assert transactions is not None
    assert transactions < 100
    verified = record.verify()
    assert (verified.faults, verified.count) == ([], 200)


def test_what_waits_when_it_stops_is_written(record: Record) -> None:
    async def run() -> None:
        with writing(record) as (writer, _):
            waiting = [
                asyncio.ensure_future(writer.keep(decision(subject(record.key, seed), verdict()))) for seed in range(20)
            ]
            await asyncio.sleep(0)  # each has handed over its decision
        await asyncio.gather(*waiting)

    asyncio.run(run())
    assert record.verify().count == 20


def test_a_decision_whose_caller_left_is_written_all_the_same(record: Record) -> None:
    async def run(writer: Writer) -> None:
        left = asyncio.ensure_future(writer.keep(decision(subject(record.key), verdict())))
        await asyncio.sleep(0)  # it has handed over its decision
        left.cancel()
        await writer.keep(decision(subject(record.key, 1), verdict(1)))

    with writing(record) as (writer, _):
        asyncio.run(run(writer))
    assert record.verify().count == 2


@pytest.mark.parametrize("optional", [False, True])
def test_what_cannot_be_written_is_no_answer_unless_the_record_is_optional(
    tmp_path: Path, optional: bool, caplog: pytest.LogCaptureFixture
) -> None:
    record = open_record(f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key")
    wanted = decision(subject(record.key), verdict())
    with writing(record, optional=optional) as (writer, metrics):
        execute(tmp_path / "record.sqlite", "ALTER TABLE entries RENAME TO elsewhere")
        if optional:
            assert same(asyncio.run(writer.keep(wanted)).verdict, verdict())
        else:
            with pytest.raises(RecordUnavailable):
                asyncio.run(writer.keep(wanted))
        assert metrics.registry.get_sample_value("cxr_record_failures_total") == 1
        (line,) = [line for line in caplog.records if line.getMessage() == "the record was not written"]
        assert vars(line)["request_ids"] == [wanted.request_id]
        execute(tmp_path / "record.sqlite", "ALTER TABLE elsewhere RENAME TO entries")
        asyncio.run(writer.keep(wanted))  # it goes on
    assert record.verify().count == 1
    record.close()


def test_the_text_of_a_fault_that_is_not_the_records_own_is_told_nobody(
    record: Record, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("Canary^Jane Doe")

    monkeypatch.setattr(record, "write", fail)
    with writing(record) as (writer, _), pytest.raises(RecordUnavailable, match="ValueError") as raised:
        asyncio.run(writer.keep(decision(subject(record.key), verdict())))
    told = [str(raised.value), *(str(vars(line)) for line in caplog.records)]
    assert any("the record was not written" in line for line in told)
    assert "Canary" not in "".join(told)


def test_who_finds_a_changed_entry_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = open_record(f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key")
    first, again = (
        decision(subject(record.key), verdict(), request_id=name, earliest_holds=True) for name in ("first", "again")
    )
    with writing(record) as (writer, _):
        asyncio.run(writer.keep(first))
        execute(tmp_path / "record.sqlite", "UPDATE entries SET caller = 'somebody'")
        assert not asyncio.run(writer.keep(again)).from_record
    record.close()
    (line,) = [line for line in caplog.records if "does not match its seal" in line.getMessage()]
    assert (vars(line)["entry"], vars(line)["request_id"]) == (1, "again")


def test_the_head_is_logged_when_the_record_is_opened_and_closed(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cxr_gate"), writing(record) as (writer, _):
        asyncio.run(writer.keep(decision(subject(record.key), verdict())))
    heads = [Head.parse(line.head) for line in caplog.records if hasattr(line, "head")]
    assert [head.id for head in heads] == [0, 1]
    assert record.verify(heads[1]).faults == []


def test_retention_runs_from_the_start(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(entries, "written", lambda moment=None: "2020-01-01T00:00:00.000000Z")
        fill(record, 5)

    async def until_removed(writer: Writer) -> None:
        async with asyncio.timeout(30):
            while record.verify().removed_through != 5:
                await writer.keep(decision(subject(record.key), verdict()))

    with writing(record, days=7) as (writer, _):
        asyncio.run(until_removed(writer))
    assert record.verify().faults == []


def test_an_error_of_the_thread_does_not_end_it(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no part of it foresaw: it is counted, and decisions are written again."""
    monkeypatch.setattr(supervised, "FIRST_WAIT_SECONDS", 0.05)
    remove, errors = Writer._remove_older, iter([MemoryError()])

    def failing(writer: Writer) -> float:
        for error in errors:
            raise error
        return remove(writer)

    monkeypatch.setattr(Writer, "_remove_older", failing)
    with writing(record, days=7) as (writer, metrics):
        asyncio.run(writer.keep(decision(subject(record.key), verdict())))
        assert metrics.registry.get_sample_value("cxr_thread_failures_total", {"thread": "record"}) == 1
        assert metrics.registry.get_sample_value("cxr_thread_up", {"thread": "record"}) == 1
    assert record.verify().count == 1
