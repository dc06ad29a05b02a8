"""The record's decisions, newest first, a page at a time, for people who look at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sqlalchemy import Connection, select

from .chain import seal_of
from .key import RecordKey
from .tables import ENTRIES, JUDGED, REPEATED


@dataclass(frozen=True)
class Decided:
    """One decision, without its score and probabilities; fields are the record's columns.

    Attributes
    ----------
    repeated : bool
        It was answered from an earlier entry.
    intact : bool
        The entry matches its seal: nobody changed it since.
    film : str or None
        The film's id in quarantine.
    """

    entry: int
    time: str
    request_id: str
    verdict: str
    model_version: str
    source_kind: str | None
    route: str | None
    caller: str | None
    seconds: float | None
    film: str | None
    repeated: bool
    intact: bool


def decided(
    connection: Connection, key: RecordKey, filters: Mapping[str, str], before: int | None, limit: int
) -> list[Decided]:
    """At most `limit` decisions before entry `before`, newest first, whose columns have the values of `filters`."""
    query = select(ENTRIES).where(ENTRIES.c.kind.in_((JUDGED, REPEATED)))
    query = query.where(*(ENTRIES.c[name] == value for name, value in filters.items()))
    if before is not None:
        query = query.where(ENTRIES.c.id < before)
    rows = connection.execute(query.order_by(ENTRIES.c.id.desc()).limit(limit)).mappings()
    same = [field.name for field in fields(Decided) if field.name in ENTRIES.c]
    return [
        Decided(
            entry=row["id"],
            repeated=row["kind"] == REPEATED,
            intact=seal_of(dict(row), key) == row["seal"],
            **{name: row[name] for name in same},
        )
        for row in rows
    ]
