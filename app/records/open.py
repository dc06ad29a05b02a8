"""Where the record is -> Record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from app.settings import SettingsError

from .key import KeyFileError, RecordKey
from .migrate import SchemaError, migrate, version_of
from .proof import OtherKey, require_key
from .record import Record, transaction
from .tables import SCHEMA_VERSION

_BUSY_MILLISECONDS = 5_000
_READ_ONLY = {"mode": "ro", "uri": "true"}


def open_record(url: str, key_file: Path) -> Record:
    """Open the database and bring it to the newest shape; make it and the key if there are neither.

    Parameters
    ----------
    url : str
        SQLAlchemy's URL of a SQLite or PostgreSQL database. ``sqlite://`` is a database in memory, with a key of
        its own: nothing is left when the process ends.
    key_file : Path
        Not used for a database in memory.

    Raises
    ------
    SettingsError
        The database or the key cannot be used, or they do not belong together.
    """
    with _refusals():
        parsed = _parsed(url)
        if parsed.get_backend_name() == "postgresql":
            return _proven(_postgresql(parsed), key_file)
        if is_in_memory(url):
            database, key = _sqlite(parsed, poolclass=StaticPool), RecordKey.random()
            migrate(database, key)
            return Record(database, key)
        _make_private(Path(str(parsed.database)))
        return _proven(_sqlite(parsed), key_file)


def open_for_reading(url: str, key_file: Path) -> Record:
    """Open a database as it is, for verification: nothing is made, and nothing changed.

    Raises
    ------
    SettingsError
        There is no database, no key, or no record of this shape.
    """
    with _refusals():
        parsed = _parsed(url)
        if parsed.get_backend_name() == "postgresql":
            database = _postgresql(parsed)
        elif is_in_memory(url):
            raise SettingsError(f"CXR_RECORD_URL={url} is in memory, and ends with its service")
        else:
            path = Path(str(parsed.database)).absolute()
            database = _sqlite(make_url("sqlite://").set(database=f"file:{quote(str(path))}", query=_READ_ONLY))
        key = RecordKey.from_file(key_file, make=False)
        with _let_go_if_refused(database), database.connect() as connection:
            if version_of(connection) != SCHEMA_VERSION:
                raise SettingsError(
                    "the database holds no record with a chain (no record at all, or one with an older schema, "
                    "which the service updates when it starts)"
                )
        return Record(database, key)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except KeyFileError as error:
        raise SettingsError(f"CXR_RECORD_KEY_FILE: {error}") from error
    except SchemaError as error:
        raise SettingsError(f"CXR_RECORD_URL: {error}") from error
    except OtherKey as error:
        raise SettingsError(f"CXR_RECORD_URL and CXR_RECORD_KEY_FILE do not belong together: {error}") from error
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise SettingsError(
            f"CXR_RECORD_URL: the database cannot be opened ({type(error).__name__}); name one that can be written, "
            "or sqlite:// to keep the record in memory until the service stops"
        ) from error


def _proven(database: Engine, key_file: Path) -> Record:
    with _let_go_if_refused(database):
        with database.connect() as connection, transaction(connection, writes=False):
            make = require_key(connection, key_file)
        key = RecordKey.from_file(key_file, make=make)
        migrate(database, key)
    return Record(database, key)


@contextmanager
def _let_go_if_refused(database: Engine) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.dispose()
        raise


def _parsed(url: str) -> URL:
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise SettingsError("CXR_RECORD_URL: the record is kept in SQLite or PostgreSQL; name one of these")
    return parsed


def is_in_memory(url: str) -> bool:
    """Whether the database is in memory, so that its record ends with the process."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")  # the driver that the extra "postgresql" installs
    # A database that hangs must become an error before the caller has gone.
    options = f"-c lock_timeout={_BUSY_MILLISECONDS} -c statement_timeout={_BUSY_MILLISECONDS}"
    waits = {"connect_timeout": _BUSY_MILLISECONDS // 1000, "tcp_user_timeout": _BUSY_MILLISECONDS, "options": options}
    return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=waits)


def _make_private(path: Path) -> None:
    """Make an empty file with mode 0600. SQLite takes it for a database, and gives its other files the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _sqlite(url: URL, **options: Any) -> Engine:
    # Transactions begin as the code says (isolation_level None), not at the first INSERT, as Python's module does by default.
    arguments = {"check_same_thread": False, "isolation_level": None}
    database = create_engine(url, connect_args=arguments, hide_parameters=True, **options)

    @event.listens_for(database, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        if url.query == _READ_ONLY:
            return
        # A committed decision is on the disk, even if the process or the machine is killed. Other processes can read
        # while one writes.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # overwrites the entries that retention removes

    @event.listens_for(database, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return database
