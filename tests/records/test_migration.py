"""A record of an earlier shape is taken over in place, once, and answers what it answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from app.pipeline.labels import LABELS
from app.records import FilmEvent, RecordKey, open_for_reading, open_record
from app.records.tables import ADDED, SCHEMA_VERSION
from app.settings import SettingsError
from tests.records.making import decision, execute, fill, keep, same, subject, verdict

#: As version 1 made them.
VERSION_1 = {
    "sqlite": """CREATE TABLE decisions (id INTEGER NOT NULL, time DATETIME NOT NULL, request_id VARCHAR(32) NOT NULL,
        model_version VARCHAR(255) NOT NULL, verdict VARCHAR(8) NOT NULL, log_density DOUBLE NOT NULL, probabilities JSON,
        instance_hash VARCHAR(64) NOT NULL, pixels_hash VARCHAR(64) NOT NULL, PRIMARY KEY (id))""",
    "postgresql": """CREATE TABLE decisions (id BIGSERIAL NOT NULL, time TIMESTAMP WITH TIME ZONE NOT NULL,
        request_id VARCHAR(32) NOT NULL, model_version VARCHAR(255) NOT NULL, verdict VARCHAR(8) NOT NULL,
        log_density DOUBLE PRECISION NOT NULL, probabilities JSON, instance_hash VARCHAR(64) NOT NULL,
        pixels_hash VARCHAR(64) NOT NULL, PRIMARY KEY (id))""",
}
INDEX = "CREATE INDEX decisions_of_a_subject ON decisions (instance_hash, pixels_hash, model_version)"
COUNT = 1_005  # more than are taken over at once


def with_driver(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database of version 1, whose ids have gaps as sequences leave them."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/record.sqlite"
    else:
        made: Callable[[], str] = request.getfixturevalue("new_postgresql")
        url = made()
    key = RecordKey.from_file(tmp_path / "key")
    rows = []
    for seed in range(COUNT):
        given = verdict(seed, seed % 3 != 0)
        about = subject(key, seed)
        moment = datetime(2025, 3, 1, 12, seed % 60, seed // 60, 1234, UTC)
        rows.append(
            {
                "id": 2 * seed + 5,
                "time": moment.replace(tzinfo=None).isoformat(" ") if request.param == "sqlite" else moment,
                "request": f"{seed:032x}",
                "verdict": "accepted" if given.accepted else "rejected",
                "log_density": given.log_density,
                "probabilities": None if given.probabilities is None else json.dumps(given.probabilities.tolist()),
                "instance": about.instance_hash,
                "pixels": about.pixels_hash,
            }
        )
    database = create_engine(with_driver(url))
    with database.begin() as connection:
        connection.execute(text(VERSION_1[request.param]))
        connection.execute(text(INDEX))
        values = ":id, :time, :request, 'model', :verdict, :log_density, :probabilities, :instance, :pixels"
        connection.execute(text(f"INSERT INTO decisions VALUES ({values})"), rows)
    database.dispose()
    return url


def test_it_is_taken_over_in_place(old: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with pytest.raises(SettingsError, match="older schema"):
        open_for_reading(old, key)
    opened = open_record(old, key)
    verified = opened.verify()
    assert (verified.faults, verified.count, opened.head().id) == ([], COUNT, COUNT)
    for seed in (0, 1, COUNT - 1):
        assert same(opened.find(subject(opened.key, seed)), verdict(seed, seed % 3 != 0))
        answer = keep(opened, subject(opened.key, seed), verdict(99), earliest_holds=True)
        assert answer.from_record
    head = opened.head()
    opened.close()
    again = open_record(old, key)
    assert again.head() == head
    assert again.verify().faults == []
    again.close()


@pytest.mark.parametrize("version", range(2, SCHEMA_VERSION))
@pytest.mark.parametrize("database_of", ["sqlite", "postgresql"])
def test_an_older_shape_keeps_its_seals(
    database_of: str, version: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """So a head that an auditor kept is still a head."""
    added = [name for later, names in ADDED.items() if later > version for name in names]
    if database_of == "sqlite":
        url = f"sqlite:///{tmp_path}/record.sqlite"
    else:
        made: Callable[[], str] = request.getfixturevalue("new_postgresql")
        url = made()
    opened = open_record(url, tmp_path / "key")
    fill(opened, 12)
    head = opened.head()
    opened.close()
    database = create_engine(with_driver(url))
    with database.begin() as connection:
        if "film" in added:
            connection.execute(text("DROP INDEX entries_of_a_film"))
        for column in added:
            connection.execute(text(f"ALTER TABLE entries DROP COLUMN {column}"))
        connection.execute(text("UPDATE record_schema SET version = :version"), {"version": version})
    database.dispose()
    with pytest.raises(SettingsError, match="older schema"):
        open_for_reading(url, tmp_path / "key")
    again = open_record(url, tmp_path / "key")
    again.write(
        [
            decision(subject(again.key, 49), verdict(49), calls=("present",) * len(LABELS), presentation="a window"),
            decision(subject(again.key, 50), verdict(50, accepted=False), film="f" * 32),
            FilmEvent("released", "f" * 32, "dr.b", reason="a foreign body"),
        ]
    )
    verified = again.verify(head)
    assert (verified.faults, verified.count) == ([], 15)
    assert again.films()["f" * 32].state == "released"
    again.close()


def test_of_several_that_start_at_once_one_takes_it_over(old: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_record(old, tmp_path / "key"), range(4)))
    verified = opened[0].verify()
    assert (verified.faults, verified.count) == ([], COUNT)
    for each in opened:
        each.close()


def test_what_is_taken_over_reads_as_before(old: str, tmp_path: Path) -> None:
    open_record(old, tmp_path / "key").close()
    columns = "id, kind, time, request_id, model_version, verdict, percentile, caller, route"
    database = create_engine(with_driver(old))
    with database.connect() as connection:
        (row,) = connection.execute(text(f"SELECT {columns} FROM entries WHERE id = 2"))
        tables = inspect(connection).get_table_names()
    database.dispose()
    assert tuple(row) == (
        *(2, "judged", "2025-03-01T12:01:00.001234Z", f"{1:032x}", "model", "accepted"),
        *(None, None, None),
    )
    assert sorted(tables) == ["entries", "record_key", "record_schema"]


def test_a_record_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/record.sqlite"
    open_record(url, tmp_path / "key").close()
    execute(tmp_path / "record.sqlite", "UPDATE record_schema SET version = 6")
    for each in (open_record, open_for_reading):
        with pytest.raises(SettingsError, match="version 6, but this code reads 5"):
            each(url, tmp_path / "key")
