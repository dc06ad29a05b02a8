"""A database of any earlier shape -> the shape of ``tables``, in place and in one transaction.

This file replaces Alembic: the shapes are few, and one step must compute seals, which is Python in either case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
    text,
)

from .chain import EMPTY, linked
from .entries import written
from .key import RecordKey
from .proof import prove
from .record import transaction
from .tables import ADDED, ENTRIES, ENTRIES_OF_A_FILM, JUDGED, METADATA, SCHEMA, SCHEMA_VERSION

_AT_ONCE = 1_000


class SchemaError(Exception):
    """The database has a shape that this code does not read."""


#: Version 1, which had no chain and did not name its version.
_DECISIONS = Table(
    "decisions",
    MetaData(),
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("time", DateTime(timezone=True)),
    Column("request_id", String(32)),
    Column("model_version", String(255)),
    Column("verdict", String(8)),
    Column("log_density", Double),
    Column("probabilities", JSON(none_as_null=True)),
    Column("instance_hash", String(64)),
    Column("pixels_hash", String(64)),
)


def migrate(database: Engine, key: RecordKey) -> None:
    """Make the tables, or bring them to the newest shape, if they are this key's; if several processes start, one does it.

    Raises
    ------
    SchemaError
        The database was written by a newer version of this code.
    OtherKey
        The record was begun under another key; nothing was changed.
    """
    with database.connect() as connection, transaction(connection, writes=True):
        found = version_of(connection)
        if found != SCHEMA_VERSION:
            _bring(connection, found, key)
        prove(connection, key)


def _bring(connection: Connection, found: int, key: RecordKey) -> None:
    if found >= 2:
        _add_columns(connection, found)
    METADATA.create_all(connection)
    if inspect(connection).has_table(_DECISIONS.name):
        _from_version_1(connection, key)
    connection.execute(delete(SCHEMA))
    connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))


def version_of(connection: Connection) -> int:
    """Version of the shape; 0 for an empty database.

    Raises
    ------
    SchemaError
        It is newer than this code's.
    """
    tables = inspect(connection)
    if not tables.has_table(SCHEMA.name):
        return 1 if tables.has_table(_DECISIONS.name) else 0
    version = int(connection.scalar(select(SCHEMA.c.version)) or 0)
    if not 2 <= version <= SCHEMA_VERSION:
        raise SchemaError(f"the record has schema version {version}, but this code reads {SCHEMA_VERSION}")
    return version


def _add_columns(connection: Connection, found: int) -> None:
    """Add the columns of the versions after the one that was found; what is there keeps its seals."""
    for name in (name for version, names in ADDED.items() if version > found for name in names):
        kind = ENTRIES.c[name].type.compile(connection.dialect)
        connection.execute(text(f"ALTER TABLE {ENTRIES.name} ADD COLUMN {name} {kind}"))
    if found < 3:
        ENTRIES_OF_A_FILM.create(connection)


def _from_version_1(connection: Connection, key: RecordKey) -> None:
    """Seal the entries as they are found: the chain cannot show earlier changes to them."""
    head = EMPTY
    for rows in _parts(connection):
        made = list(linked(map(_entry, rows), head, key))
        connection.execute(insert(ENTRIES), made)
        head = head._replace(id=made[-1]["id"], seal=made[-1]["seal"])
    _DECISIONS.drop(connection)


def _parts(connection: Connection) -> Iterator[list[Any]]:
    last = 0
    while rows := connection.execute(
        select(_DECISIONS).where(_DECISIONS.c.id > last).order_by(_DECISIONS.c.id).limit(_AT_ONCE)
    ).all():
        yield list(rows)
        last = rows[-1].id


def _entry(row: Any) -> dict[str, Any]:
    time = row.time if row.time.tzinfo else row.time.replace(tzinfo=UTC)  # SQLite kept no zone
    return {
        "kind": JUDGED,
        "time": written(time),
        "request_id": row.request_id,
        "model_version": row.model_version,
        "verdict": row.verdict,
        "log_density": row.log_density,
        "probabilities": None if row.probabilities is None else json.dumps(row.probabilities),
        "instance_hash": row.instance_hash,
        "pixels_hash": row.pixels_hash,
    }
