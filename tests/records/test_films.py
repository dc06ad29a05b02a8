"""What the record says of a film in quarantine, and that nobody else's word counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.records import FilmEvent, Record, open_record
from tests.records.making import decision, execute, fill, subject, verdict

FILM = "a" * 32


def rejected(record: Record, film: str | None, seed: int = 0, **fields: object) -> None:
    record.write([decision(subject(record.key, seed), verdict(seed, accepted=False), film=film, **fields)])


def test_the_state_of_a_film_is_what_the_record_says(record: Record) -> None:
    fill(record, 5)
    rejected(record, FILM, caller="pacs", request_id=FILM)
    assert record.films([FILM])[FILM].state == "pending"
    record.write([FilmEvent("viewed", FILM, "dr.b", route="/v1/quarantine/{id}/film")])
    assert record.films([FILM])[FILM].state == "pending"
    record.write([FilmEvent("released", FILM, "dr.b", reason="a prosthesis")])
    record.write([FilmEvent("confirmed", FILM, "dr.c", reason="too late")])
    kept = record.films([FILM])[FILM]
    assert kept.state == "released"
    assert kept.decision is not None
    assert (kept.decision.by, kept.decision.reason) == ("dr.b", "a prosthesis")
    assert (kept.entry, kept.request_id, kept.callers, kept.percentile) == (6, FILM, ("pacs",), 37.5)
    record.write([FilmEvent("removed", FILM, "cxr-gate", reason="age")])
    assert record.films([FILM])[FILM].state == "removed"
    assert [each.kind for each in record.films()[FILM].happenings] == ["viewed", "released", "confirmed", "removed"]
    assert record.verify().faults == []


def test_films_are_told_apart(record: Record) -> None:
    rejected(record, None)
    for number in range(1, 4):
        rejected(record, f"{FILM}-{number}", number)
    record.write([FilmEvent("confirmed", f"{FILM}-2", "dr.b", reason="tampered")])
    assert {film: kept.state for film, kept in record.films().items()} == {
        f"{FILM}-1": "pending",
        f"{FILM}-2": "confirmed",
        f"{FILM}-3": "pending",
    }
    assert set(record.films([f"{FILM}-3", "unknown"])) == {f"{FILM}-3"}
    assert record.film_of(subject(record.key, 2)) == f"{FILM}-2"
    assert record.film_of(subject(record.key, 0)) is None


def test_a_repeat_adds_its_caller(record: Record) -> None:
    for caller in ("pacs", "ward", "pacs"):
        rejected(record, FILM, earliest_holds=True, caller=caller)
    assert record.films([FILM])[FILM].callers == ("pacs", "ward")


@pytest.mark.parametrize("kind", ["released", "removed"])
def test_nobody_decides_on_a_film_by_writing_to_the_database(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "record.sqlite"
    record = open_record(f"sqlite:///{path}", tmp_path / "key")
    rejected(record, FILM)
    record.write([FilmEvent("viewed", FILM, "dr.b")])
    execute(path, f"UPDATE entries SET kind = '{kind}' WHERE id = 2")
    assert record.films([FILM])[FILM].state == "pending"
    assert record.verify().fault_count == 1
    record.close()
