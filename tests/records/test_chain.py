"""Whatever is done to the entries without the key is found, and retention is not taken for it."""

from __future__ import annotations

import hmac
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.cli import main
from app.records import EMPTY, Head, Record, RecordKey, RecordUnavailable, entries, open_for_reading, open_record
from app.records import record as record_module
from app.settings import SettingsError
from tests.records.making import decision, execute, fill, keep, subject, verdict

COUNT = 12


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A SQLite file with 12 entries; its key is ``key`` beside it."""
    path = tmp_path / "record.sqlite"
    opened = opened_at(path)
    fill(opened, COUNT)
    opened.close()
    return path


def opened_at(path: Path) -> Record:
    return open_record(f"sqlite:///{path}", path.with_name("key"))


def verify(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    where = ["--url", f"sqlite:///{path}", "--key-file", str(path.with_name("key"))]
    code = main(["verify-record", *where, *options])
    return code, capsys.readouterr().out


def head_of(path: Path) -> Head:
    return Head(*execute(path, "SELECT id, seal FROM entries ORDER BY id DESC LIMIT 1")[0])


def put_in(row: tuple[object, ...]) -> str:
    """A statement that writes a row as it was."""
    return f"INSERT INTO entries VALUES ({', '.join('NULL' if value is None else repr(value) for value in row)})"


def test_a_whole_record_verifies(record: Record) -> None:
    assert record.verify().faults == []
    fill(record, COUNT)
    verified = record.verify()
    assert (verified.faults, verified.count, verified.removed_through) == ([], COUNT, 0)
    assert verified.head == record.head()


def test_a_seal_is_an_hmac_of_all_that_an_entry_holds(database: Path) -> None:
    """By hand, from docs/record.md."""
    names = [row[1] for row in execute(database, "PRAGMA table_info(entries)")]
    rows = [dict(zip(names, row, strict=True)) for row in execute(database, "SELECT * FROM entries ORDER BY id")]
    secret = hmac.digest(bytes.fromhex(database.with_name("key").read_text()), b"seal of entries\0", "sha256")
    previous = "0" * 64
    for row in rows:
        assert row["previous"] == previous
        previous = row.pop("seal")
        for added in ("film", "reason", "calls", "presentation"):
            if row[added] is None:
                del row[added]
        content = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert hmac.digest(secret, content.encode(), "sha256").hex() == previous


EDITS = {
    "previous": f"'{'1' * 64}'",
    "seal": f"'{'1' * 64}'",
    "kind": "'repeated'",
    "time": "'2020-01-01T00:00:00.000000Z'",
    "request_id": "'another'",
    "model_version": "'another'",
    "verdict": "CASE verdict WHEN 'accepted' THEN 'rejected' ELSE 'accepted' END",
    "log_density": "log_density + 1e-9",
    "percentile": "38",
    "probabilities": "NULL",
    "calls": "'[]'",
    "presentation": "'another'",
    "pixels_hash": f"'{'1' * 64}'",
    "instance_hash": "NULL",
    "caller": "'somebody'",
    "source_kind": "'png'",
    "route": "x'00ff'",  # a blob
    "seconds": "'soon'",
    "repeat_of": "1",
    "removed_through": "3",
    "removed_seal": f"'{'1' * 64}'",
    "film": "'0123'",
    "reason": "'another'",
}


@pytest.mark.parametrize("column", EDITS)
def test_an_edited_entry_is_named(database: Path, capsys: pytest.CaptureFixture[str], column: str) -> None:
    execute(database, f"UPDATE entries SET {column} = {EDITS[column]} WHERE id = 8")
    code, told = verify(database, capsys)
    assert code == 1
    assert "entry 8 was changed or forged" in told
    assert "NOT verify" in told


def test_every_column_is_edited_above(database: Path) -> None:
    assert {"id", *EDITS} == {row[1] for row in execute(database, "PRAGMA table_info(entries)")}


COPY = (
    "CREATE TEMP TABLE copy AS SELECT * FROM entries WHERE id = 3",
    "UPDATE copy SET id = 13, previous = (SELECT seal FROM entries WHERE id = 12)",
    "INSERT INTO entries SELECT * FROM copy",
)
SWAP = (
    "UPDATE entries SET id = -1 WHERE id = 4",
    "UPDATE entries SET id = 4 WHERE id = 9",
    "UPDATE entries SET id = 9 WHERE id = -1",
)
MOVE_UP = ("DELETE FROM entries WHERE id = 5", "UPDATE entries SET id = id - 1 WHERE id > 5")
FORGED_CHECKPOINT = (
    "DELETE FROM entries WHERE id <= 5",
    "UPDATE entries SET kind = 'checkpoint', removed_through = 5, "
    "removed_seal = (SELECT previous FROM entries WHERE id = 6) WHERE id = 12",
)
TAMPERINGS = {
    "one removed": (("DELETE FROM entries WHERE id = 5",), "entry 5 is missing"),
    "several removed": (("DELETE FROM entries WHERE id IN (5, 6)",), "entries 5 to 6 are missing"),
    "the first removed": (("DELETE FROM entries WHERE id = 1",), "entry 1 is missing at the beginning"),
    "the first half removed": (("DELETE FROM entries WHERE id < 7",), "entries 1 to 6 are missing at the beginning"),
    "removed and closed up": (MOVE_UP, "entry 5 was changed or forged"),
    "one copied to the end": (COPY, "entry 13 was changed or forged"),
    "two swapped": (SWAP, "entry 4 was changed or forged"),
    "one put before": (
        ("INSERT INTO entries (id, previous, seal, kind, time) VALUES (0, '', '', 'judged', '')",),
        "entry 0 was changed or forged",
    ),
    "a checkpoint forged": (FORGED_CHECKPOINT, "entries 1 to 5 are missing at the beginning"),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_what_is_removed_put_in_or_moved_is_told(database: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    statements, said = TAMPERINGS[how]
    execute(database, *statements)
    code, told = verify(database, capsys)
    assert code == 1
    assert said in told


def test_an_entry_of_the_same_number_from_a_copy_of_the_record_does_not_fit(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Well sealed, since it comes from a service that went on with a copy; the links give it away."""
    copy = database.parent / "copy" / "record.sqlite"
    copy.parent.mkdir()
    shutil.copy(database, copy)
    shutil.copy(database.with_name("key"), copy.parent)
    for path in (database, copy):
        opened = opened_at(path)
        fill(opened, 2)
        opened.close()
    (other,) = execute(copy, "SELECT * FROM entries WHERE id = 13")
    execute(database, "DELETE FROM entries WHERE id = 13", put_in(other))
    code, told = verify(database, capsys)
    assert code == 1
    assert "entry 14 does not follow the entry 13 that is there" in told


def test_another_key_verifies_nothing_and_says_so(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database.with_name("key").write_text("ab" * 32)
    code, told = verify(database, capsys)
    assert code == 1
    assert "is it the key of this record?" in told


# The newest entries.


def test_what_was_cut_off_is_seen_by_a_head_of_before(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = verify(database, capsys)
    assert code == 0
    head = told.split("head ")[1].strip()
    assert head == str(head_of(database))
    assert verify(database, capsys, "--expect-head", head)[0] == 0
    execute(database, "DELETE FROM entries WHERE id > 10")
    assert verify(database, capsys)[0] == 0  # it is a whole chain: nothing in the database tells
    code, told = verify(database, capsys, "--expect-head", head)
    assert code == 1
    assert "entries 11 to 12 are missing at the end" in told
    # It goes on, with other entries of the same numbers.
    opened = opened_at(database)
    fill(opened, 4)
    opened.close()
    code, told = verify(database, capsys, "--expect-head", head)
    assert code == 1
    assert "entry 12 is not the one that was the head" in told


def test_an_emptied_record_is_seen_by_a_head_of_before(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = str(head_of(database))
    execute(database, "DELETE FROM entries")
    assert verify(database, capsys, "--expect-head", str(EMPTY))[0] == 0
    code, told = verify(database, capsys, "--expect-head", head)
    assert code == 1
    assert "entries 1 to 12 are missing at the end" in told


@pytest.mark.parametrize("text", ["12", "12:ab", "x:" + "0" * 64, "-1:" + "0" * 64])
def test_a_head_that_is_none_is_refused(database: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert main(["verify-record", "--url", f"sqlite:///{database}", f"--expect-head={text}"]) == 1
    assert "--expect-head" in capsys.readouterr().err


# Retention.


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> Callable[[Record, int, str], None]:
    """Fill a record at another time; a sealed time cannot be edited afterwards."""

    def fill_at(record: Record, count: int, time: str) -> None:
        with monkeypatch.context() as patch:
            now = entries.written
            patch.setattr(entries, "written", lambda moment=None: now(moment) if moment else time)
            fill(record, count)

    return fill_at


OLD, OLDER = "2020-02-01T00:00:00.000000Z", "2020-01-01T00:00:00.000000Z"


def test_old_entries_are_removed_and_the_rest_verifies(record: Record, aged) -> None:
    assert record.remove_older(30) == 0
    aged(record, 5, OLDER)
    aged(record, 3, OLD)
    early = record.head()
    fill(record, 4)
    assert record.remove_older(30) == 8
    assert record.remove_older(30) == 0
    verified = record.verify()
    assert (verified.faults, verified.count, verified.removed_through) == ([], 5, 8)
    assert record.verify(early).faults == []  # the checkpoint holds its seal
    fill(record, 2)
    assert record.verify().faults == []


def test_when_all_is_old_only_the_checkpoint_stays_and_is_itself_removed_in_time(record: Record, aged) -> None:
    aged(record, 5, OLDER)
    first = record.head()
    assert record.remove_older(30) == 5
    assert (record.verify().count, record.head().id) == (1, 6)
    assert record.verify(first).faults == []
    assert record.remove_older(-1) == 1  # as seen a day after
    verified = record.verify(first)
    assert (verified.count, verified.removed_through, verified.head.id) == (1, 6, 7)  # type: ignore[union-attr]
    assert "removed by retention since" in verified.faults[0]


def test_much_is_removed_a_part_at_a_time(record: Record, aged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "REMOVED_AT_ONCE", 4)
    aged(record, 10, OLD)
    assert [record.remove_older(1) for _ in range(4)] == [4, 4, 2, 0]
    verified = record.verify()
    assert (verified.faults, verified.count, verified.removed_through) == ([], 3, 10)


def test_a_clock_that_was_set_back_leaves_no_gap(record: Record, aged) -> None:
    aged(record, 3, OLD)
    fill(record, 2)
    aged(record, 3, OLD)
    assert record.remove_older(1) == 3
    assert record.verify().faults == []


def test_removing_more_than_retention_did_is_found(tmp_path: Path, aged, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record.sqlite"
    opened = opened_at(path)
    aged(opened, 5, OLD)
    (removed,) = execute(path, "SELECT * FROM entries WHERE id = 5")
    fill(opened, 5)
    opened.remove_older(1)
    opened.close()
    code, told = verify(path, capsys)
    assert code == 0
    assert "1 to 5 were removed by retention" in told
    execute(path, put_in(removed))
    assert "entry 5 is there again" in verify(path, capsys)[1]
    execute(path, "DELETE FROM entries WHERE id <= 7")
    code, told = verify(path, capsys)
    assert code == 1
    assert "entries 6 to 7 are missing at the beginning" in told
    execute(path, "DELETE FROM entries WHERE kind = 'checkpoint'")
    assert "entries 1 to 7 are missing at the beginning" in verify(path, capsys)[1]


def test_what_retention_removed_is_not_in_the_file(tmp_path: Path, aged) -> None:
    path = tmp_path / "record.sqlite"
    opened = opened_at(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "written", lambda moment=None: OLD)
        keep(opened, subject(opened.key), verdict(), caller="a caller to be forgotten")
    fill(opened, 3)
    assert opened.remove_older(1) == 1
    opened.close()
    assert b"to be forgotten" not in path.read_bytes()


# The command.


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///{folder}/none.sqlite", "cannot be opened"),
        ("sqlite:///{folder}/empty.sqlite", "no record with a chain"),
        ("mysql://nowhere", "SQLite or PostgreSQL"),
    ],
)
def test_where_there_is_no_record_nothing_is_made(
    database: Path, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    (database.parent / "empty.sqlite").touch()
    before = {path.name for path in database.parent.iterdir()}
    key = ["--key-file", str(database.with_name("key"))]
    assert main(["verify-record", "--url", url.format(folder=database.parent), *key]) == 1
    assert said in capsys.readouterr().err
    assert {path.name for path in database.parent.iterdir()} == before
    assert (database.parent / "empty.sqlite").stat().st_size == 0


def test_without_its_key_a_record_is_not_verified_and_none_is_made(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = database.with_name("missing")
    assert main(["verify-record", "--url", f"sqlite:///{database}", "--key-file", str(missing)]) == 1
    assert "CXR_RECORD_KEY_FILE" in capsys.readouterr().err
    assert not missing.exists()


def test_a_record_is_verified_while_it_is_written(database: Path) -> None:
    writer = opened_at(database)
    reader = open_for_reading(f"sqlite:///{database}", database.with_name("key"))
    for _ in range(5):
        fill(writer, 3)
        assert reader.verify().faults == []
    with pytest.raises(RecordUnavailable):
        reader.write([decision(subject(reader.key), verdict())])
    reader.close()
    writer.close()


def test_postgresql_is_verified_from_its_url(
    new_postgresql, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, key = new_postgresql(), tmp_path / "key"
    RecordKey.from_file(key)
    with pytest.raises(SettingsError, match="no record with a chain"):
        open_for_reading(url, key)
    opened = open_record(url, key)
    fill(opened, 5)
    assert main(["verify-record", "--url", url, "--key-file", str(key)]) == 0
    assert f"head {opened.head()}" in capsys.readouterr().out
    opened.close()


FUTURE = "2999-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("times", "removed"),
    [
        ("FFOOY", 4),  # the first that was ever written, too
        ("OFFOY", 4),
        ("OFFY", 1),  # they may be of the moment before the young one
        ("OOFF", 2),  # nobody knows how old they are
        ("FF", 0),
        ("OYFO", 1),  # a clock that was set back comes after
        ("FYO", 0),
    ],
)
def test_entries_dated_in_the_future_do_not_stop_retention(record: Record, aged, times: str, removed: int) -> None:
    """Old, young, and of a clock that was ahead, in the order in which they were written: none goes that may be young."""
    for time in times:
        if time == "Y":
            fill(record, 1)
        else:
            aged(record, 1, {"O": OLD, "F": FUTURE}[time])
    assert record.remove_older(30) == removed
    assert record.verify().faults == []
    oldest = record.oldest()
    assert oldest is None or oldest < datetime.now(UTC)
