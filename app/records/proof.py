"""Proves at the start that a record and a key belong together, before a film is judged or a line is written.

The database holds the id of the key that it was begun under, so a second service with another key is refused even while
the record is empty. The newest entry must also match its seal. No new key is ever made beside a record whose key is missing.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, insert, inspect, select, text

from .chain import seal_of
from .key import RecordKey
from .tables import ENTRIES, KEYS


class OtherKey(Exception):
    """The record was not begun under this key, or its newest entry was changed; the message says what to do."""


def require_key(connection: Connection, key_file: Path) -> bool:
    """Whether a missing key may be made: not beside a record that was begun under one.

    Raises
    ------
    OtherKey
        The key is missing, and the record needs it.
    """
    found, of = _begun_under(connection)
    if found and not key_file.exists():
        raise OtherKey(
            f"the key file {key_file} is not there, and {found}. Put it back from a backup, or copy it from another "
            f"service on this database; a new key would match none of its films and seals.{_named(of)} If it is lost for good, "
            "move the record away: the service begins a new one, and keeps the films of the quarantine aside"
        )
    return not found


def prove(connection: Connection, key: RecordKey) -> None:
    """Check that the record was begun under this key, in the transaction of the migration; write a new record's key id.

    Raises
    ------
    OtherKey
    """
    KEYS.create(connection, checkfirst=True)
    begun = connection.scalar(select(KEYS.c.id))
    if begun is not None and begun != key.id:
        raise OtherKey(
            f"the record was begun under another key: its id is {begun}, and that of the key file is {key.id}. Put the "
            "right file back, or copy it from the service that shares this database (a key file that was made "
            "just now may be deleted)"
        )
    newest = connection.execute(select(ENTRIES).order_by(ENTRIES.c.id.desc()).limit(1)).mappings().first()
    if newest is not None and seal_of(dict(newest), key) != newest["seal"]:
        raise OtherKey(
            f"the newest entry of the record, {newest['id']}, does not match its seal: it was changed or forged"
            + (", or the key file is another record's" if begun is None else "")
            + ". Run cxr-gate verify-record to see what else was. Then put record and key back from a backup, or move the record "
            "away and begin a new one: the films of the quarantine are kept aside"
        )
    if begun is None:
        connection.execute(insert(KEYS).values(id=key.id))


def _begun_under(connection: Connection) -> tuple[str, str | None]:
    """The content that needs the record's key, in words (empty: there is none), and the key's id if it is known."""
    tables = inspect(connection)
    of = connection.scalar(select(KEYS.c.id)) if tables.has_table(KEYS.name) else None
    for name in (ENTRIES.name, "decisions"):  # version 1 has the table decisions
        if tables.has_table(name) and (count := connection.scalar(select(func.count()).select_from(text(name)))):
            return f"the record holds {count} entries that were made under it", of
    return ("another service has begun a record under one in this database" if of else ""), of


def _named(of: str | None) -> str:
    return f" Its id is {of}." if of else ""
