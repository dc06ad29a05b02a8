"""A file of SQLite that the forwarder keeps beside its state. Every fault of the file is reported as a fault of the set-up."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .errors import Misconfigured

T = TypeVar("T")


class SqliteFile:
    """An open file that only its owner may read; ``close`` it after use. A subclass says in ``_prepare`` what the file holds.

    Parameters
    ----------
    lock_seconds : float
        How long it waits for another process that writes.
    absent : str or None
        The message if there is no file; None: make one.

    Raises
    ------
    Misconfigured
        Every method may raise it too: the file cannot be read or written, or there is none.
    """

    #: The name of the file in messages, and the remedy if it cannot be used.
    _NAME: ClassVar[str]
    _REMEDY: ClassVar[str]

    def __init__(self, path: Path, *, lock_seconds: float = 5.0, absent: str | None = None) -> None:
        try:
            if absent is None:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            elif not path.exists():
                raise Misconfigured(absent)
            self._connection = sqlite3.connect(path, timeout=lock_seconds, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._broken(error) from None
        try:
            self._do(self._prepare)
        except Misconfigured:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return self._do(lambda: self._connection.execute(statement, values).fetchall())

    def _do(self, what: Callable[[], T]) -> T:
        try:
            return what()
        except sqlite3.Error as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> Misconfigured:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Misconfigured(f"{self._NAME} cannot be used ({reason}); {self._REMEDY}")
