"""Records and keys that do not belong together stop the start, and nothing of either is changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.records import RecordKey, open_for_reading, open_record
from app.settings import SettingsError
from tests.records.making import execute, fill

Begun = Callable[[int], tuple[str, Path]]


@pytest.fixture(params=["sqlite", "postgresql"])
def begun(request: pytest.FixtureRequest, tmp_path: Path) -> Begun:
    """A record of so many entries, closed, and its key file."""

    def make(entries: int) -> tuple[str, Path]:
        made: Callable[[], str] = (
            request.getfixturevalue("new_postgresql")
            if request.param == "postgresql"
            else lambda: f"sqlite:///{tmp_path}/record.sqlite"
        )
        url, key_file = made(), tmp_path / "record.key"
        opened = open_record(url, key_file)
        fill(opened, entries)
        opened.close()
        return url, key_file

    return make


def untouched(url: str, key_file: Path, entries: int) -> bool:
    opened = open_for_reading(url, key_file)
    verified = opened.verify()
    opened.close()
    return verified.faults == [] and verified.count == entries


def test_a_key_that_is_gone_is_not_made_anew(begun: Begun, tmp_path: Path) -> None:
    url, key_file = begun(9)
    key_file.rename(tmp_path / "kept")
    with pytest.raises(SettingsError, match=r"is not there, and the record holds 9 entries .* from a backup") as told:
        open_record(url, key_file)
    assert str(key_file) in str(told.value)
    assert RecordKey.from_file(tmp_path / "kept").id in str(told.value)
    assert not key_file.exists()
    (tmp_path / "kept").rename(key_file)
    open_record(url, key_file).close()
    assert untouched(url, key_file, 9)


@pytest.mark.parametrize("entries", [0, 9])
def test_another_key_is_refused_even_where_the_record_is_empty(begun: Begun, tmp_path: Path, entries: int) -> None:
    url, key_file = begun(entries)
    other = RecordKey.from_file(tmp_path / "other.key")
    with pytest.raises(SettingsError, match="do not belong together: the record was begun under another key") as told:
        open_record(url, tmp_path / "other.key")
    assert other.id in str(told.value)
    assert untouched(url, key_file, entries)


def test_a_second_replica_cannot_bring_a_key_of_its_own(begun: Begun, tmp_path: Path) -> None:
    """It has none yet: where another has begun the record, none is made."""
    url, key_file = begun(0)
    with pytest.raises(SettingsError, match="another service has begun a record under one in this database"):
        open_record(url, tmp_path / "replica" / "record.key")
    assert not (tmp_path / "replica").exists()
    os.link(key_file, tmp_path / "copied.key")
    open_record(url, tmp_path / "copied.key").close()


def test_a_record_of_before_the_proof_is_proven_by_its_head(tmp_path: Path) -> None:
    url, key_file, path = f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key", tmp_path / "record.sqlite"
    opened = open_record(url, key_file)
    fill(opened, 5)
    opened.close()
    execute(path, "DROP TABLE record_key")
    RecordKey.from_file(tmp_path / "other")
    with pytest.raises(SettingsError, match=r"entry of the record, 5, does not match its seal: .* another record's"):
        open_record(url, tmp_path / "other")
    open_record(url, key_file).close()
    assert execute(path, "SELECT id FROM record_key") == [(RecordKey.from_file(key_file).id,)]
    with pytest.raises(SettingsError, match="begun under another key"):
        open_record(url, tmp_path / "other")


HEADS = {
    "edited": "UPDATE entries SET caller = 'nobody' WHERE id = 5",
    "without a seal": "UPDATE entries SET seal = '' WHERE id = 5",
    "of a key with an edited id": "UPDATE record_key SET id = ''",
    "forged": "INSERT INTO entries SELECT 6, seal, seal, kind, time, ",
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_does_not_give_its_seal_stops_the_start(tmp_path: Path, name: str) -> None:
    url, key_file, path = f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key", tmp_path / "record.sqlite"
    opened = open_record(url, key_file)
    fill(opened, 5)
    opened.close()
    change = HEADS[name]
    if name == "forged":
        columns = [row[1] for row in execute(path, "PRAGMA table_info(entries)")]
        change += ", ".join(columns[5:]) + " FROM entries WHERE id = 5"
    execute(path, change)
    with pytest.raises(SettingsError, match="do not belong together"):
        open_record(url, key_file)


def test_the_id_of_a_key_tells_nothing_and_differs(tmp_path: Path) -> None:
    key, other = RecordKey(bytes(32)), RecordKey(bytes(31) + b"\1")
    assert key.id != other.id
    assert len(key.id) == 32
    assert key.id not in (bytes(32).hex(), key.seal(b""), key.of_uid(""))
