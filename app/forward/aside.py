"""Films that are set aside: the forwarder tries them again later, or has given up on them until a person decides.

Without this list a film on which the service fails again and again would hold the others up, or would be lost. The
list names a film as Orthanc does, by a hash of identifiers. So only the owner may read the file, and the names are
for the operator, not for logs.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

from app.waiting import MOST_RETRY_AFTER_SECONDS

from .errors import Misconfigured
from .orthanc import ORTHANC
from .service import REFUSALS
from .sqlite_file import SqliteFile

FORMAT_VERSION: Final = 1
#: How long a command and the forwarder wait for each other.
LOCK_SECONDS: Final = 30.0
#: No film is set aside for longer at once. The other side cannot ask for more, and ``MOST_POSTPONED_SECONDS`` is no more.
LONGEST_WAIT_SECONDS: Final = MOST_RETRY_AFTER_SECONDS


@dataclass(frozen=True)
class FilmSetAside:
    """A film that is set aside. Times are Unix times, in seconds.

    Attributes
    ----------
    instance : str
        Orthanc's name of it.
    change : int
        The number of Orthanc's change by which it came. Logs name the film by it.
    first, last : float
        When it was first and last tried. If a person lets it be tried anew, `first` is set anew.
    tries : int
        How often it was set aside since then.
    status : int
        HTTP status of the last answer; 0 if there was none.
    reason : str
        Why it was set aside: the name of a problem of the service, or ``no-answer``, ``unnamed``, ``orthanc``.
    request_id : str
        The id in the last answer; ``none`` if it had none.
    next_try : float, optional
        When to try again. None: the forwarder has given up on it.
    """

    instance: str
    change: int
    first: float
    last: float
    tries: int
    status: int
    reason: str
    request_id: str
    next_try: float | None


#: Films that the service refuses for good; Orthanc's own faults have its statuses.
_REFUSED: Final = f"(status IN ({', '.join(map(str, sorted(REFUSALS | {403})))}) AND reason != '{ORTHANC}')"
_NAMES: Final = ", ".join(field.name for field in fields(FilmSetAside))


def path_beside(state: Path) -> Path:
    """The list of films that belongs to a state file."""
    return state.with_name(state.name + ".films")


class Aside(SqliteFile):
    """The list of films, in an SQLite file; every change is on the disk when a method returns.

    A command may use it while a forwarder does.

    Parameters
    ----------
    make : bool
        Make it if there is none.

    Raises
    ------
    Misconfigured
        Every method may raise it too: the file is no such list, cannot be read or written, or there is none.
    """

    _NAME = "the list of films beside --state"
    _REMEDY = "see its disk and its permissions"

    def __init__(self, path: Path, make: bool) -> None:
        absent = None if make else "no forwarder has run with this --state, so it has given up on no film"
        super().__init__(path, lock_seconds=LOCK_SECONDS, absent=absent)

    def put(self, film: FilmSetAside) -> None:
        """Add a film, or replace what is known of it."""
        marks = ", ".join("?" * len(fields(FilmSetAside)))
        self._run(f"INSERT OR REPLACE INTO films ({_NAMES}) VALUES ({marks})", astuple(film))

    def remove(self, instance: str) -> None:
        """Remove a finished film; nothing happens if it is not on the list."""
        self._run("DELETE FROM films WHERE instance = ?", (instance,))

    def find(self, instance: str) -> FilmSetAside | None:
        """The entry of a film, if it is on the list."""
        found = self._films("WHERE instance = ?", (instance,))
        return found[0] if found else None

    def due(self, now: float) -> list[FilmSetAside]:
        """The films to try again, the one that has waited longest first.

        If a film's turn lies further ahead than any wait, the clock was set back since, and the film is due too.
        """
        return self._films("WHERE next_try <= ? OR next_try > ? ORDER BY next_try", (now, now + LONGEST_WAIT_SECONDS))

    def count(self) -> tuple[int, int]:
        """How many films will be tried again, and how many were given up on."""
        ((waiting, all_of_them),) = self._run("SELECT count(next_try), count(*) FROM films", ())
        return waiting, all_of_them - waiting

    def listed(self, instances: Sequence[str] = (), reason: str | None = None) -> list[FilmSetAside]:
        """All films, or only these; the film that was tried last comes last."""
        return [
            film
            for film in self._films("ORDER BY last, instance", ())
            if (not instances or film.instance in instances) and reason in {None, film.reason}
        ]

    def try_again(self, films: Iterable[FilmSetAside], now: float) -> None:
        """Let films be tried at once, as if for the first time. A film that was finished meanwhile stays finished."""
        for film in films:
            self._run(
                "UPDATE films SET next_try = ?, first = ?, tries = 0 WHERE instance = ?", (now, now, film.instance)
            )

    def forget(self, films: Iterable[FilmSetAside]) -> None:
        """Remove films that were given up on, and no others."""
        for film in films:
            self._run("DELETE FROM films WHERE instance = ? AND next_try IS NULL", (film.instance,))

    def trim(self, most: int) -> list[FilmSetAside]:
        """Drop films given up on beyond `most`, and count them for good; returns the dropped ones.

        Refused films are dropped first, oldest first, since they will never have a report; then films that failed,
        oldest first. Films that will be tried again are never dropped.
        """
        if self.count()[1] <= most:
            return []
        oldest = f"next_try IS NULL ORDER BY {_REFUSED}, last DESC, instance DESC LIMIT -1 OFFSET ?"
        self._run("BEGIN IMMEDIATE", ())
        try:
            films = self._films(f"WHERE {oldest}", (most,))
            self._run(f"DELETE FROM films WHERE instance IN (SELECT instance FROM films WHERE {oldest})", (most,))
            self._run("INSERT INTO dropped (films) VALUES (?)", (self.dropped() + len(films),))
            self._run("DELETE FROM dropped WHERE rowid < last_insert_rowid()", ())
            self._run("COMMIT", ())
        except Misconfigured:
            with contextlib.suppress(sqlite3.Error):  # a full disk has ended the transaction already
                self._connection.execute("ROLLBACK")
            raise
        return films

    def dropped(self) -> int:
        """How many films were dropped since the list was made, because it was full."""
        ((films,),) = self._run("SELECT coalesce(max(films), 0) FROM dropped", ())
        return int(films)

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA synchronous = EXTRA")  # a power cut leaves the old or the new content
        ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        if version not in {0, FORMAT_VERSION}:
            raise Misconfigured("the list of films beside --state is of a later version of this program")
        if version == 0:
            self._connection.executescript(
                "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS films (instance TEXT PRIMARY KEY, change INTEGER NOT NULL, "
                "first REAL NOT NULL, last REAL NOT NULL, tries INTEGER NOT NULL, status INTEGER NOT NULL, "
                "reason TEXT NOT NULL, request_id TEXT NOT NULL, next_try REAL);"
                f"PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
            )
        # Earlier versions did not have this table, and ignore it.
        self._connection.execute("CREATE TABLE IF NOT EXISTS dropped (films INTEGER NOT NULL)")

    def _films(self, where: str, values: tuple[object, ...]) -> list[FilmSetAside]:
        return [FilmSetAside(*row) for row in self._run(f"SELECT {_NAMES} FROM films {where}", values)]
