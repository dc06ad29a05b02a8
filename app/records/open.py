"""Settings -> Record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from app.settings import SettingsError

from .key import KeyFileError, RecordKey
from .record import Record

_BUSY_MILLISECONDS = 5_000


def open_record(url: str, key_file: Path) -> Record:
    """Open the database, and make it and the key if there are none.

    Parameters
    ----------
    url : str
        As SQLAlchemy writes them. ``sqlite://`` is a database in memory, with a key of its own: nothing is
        left when the process ends.
    key_file : Path
        Not used for a database in memory.

    Raises
    ------
    SettingsError
        Either cannot be used.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return Record(
                create_engine(parsed, pool_pre_ping=True, hide_parameters=True), RecordKey.from_file(key_file)
            )
        if parsed.database in {None, "", ":memory:"}:
            return Record(_sqlite(parsed, poolclass=StaticPool), RecordKey.random())
        _make_private(Path(str(parsed.database)))
        return Record(_sqlite(parsed), RecordKey.from_file(key_file))
    except KeyFileError as error:
        raise SettingsError(f"CXR_RECORD_KEY_FILE: {error}") from error
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise SettingsError(
            f"CXR_RECORD_URL: the database cannot be opened ({type(error).__name__}); name one that can be written, "
            "or sqlite:// to keep the record in memory until the service stops"
        ) from error


def _make_private(path: Path) -> None:
    """An empty file is a database to SQLite, whose other files take over its mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _sqlite(url: URL, **options: Any) -> Engine:
    database = create_engine(url, connect_args={"check_same_thread": False}, hide_parameters=True, **options)

    @event.listens_for(database, "connect")
    def prepare(connection: Any, _: object) -> None:
        # A decision is on the disk once it is committed, whether the process or the machine is killed; and other
        # processes read while one writes.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")

    return database
