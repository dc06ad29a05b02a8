"""Which of Orthanc's instances are finished, so that the forwarder finds those that the log of changes did not name.

The log loses entries: an Orthanc that was restored from a backup has another log, and anybody who may write to
Orthanc can clear it. The file names instances as Orthanc does, by hashes of identifiers, so only its owner may read
it. It is only a memory: a lost entry costs one request, since a film that has a report keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .errors import Misconfigured
from .sqlite_file import SqliteFile

FORMAT_VERSION: Final = 1

_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE done (instance TEXT PRIMARY KEY, report TEXT, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE turn (due REAL NOT NULL, thorough INTEGER NOT NULL, complete INTEGER NOT NULL);
INSERT INTO turn VALUES (0, 0, 0);
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""


def path_beside(state: Path) -> Path:
    """The books that belong to a state file."""
    return state.with_name(state.name + ".done")


class Books(SqliteFile):
    """The finished instances, in an SQLite file; ``close`` it after use. Times are Unix times in seconds.

    Attributes
    ----------
    complete : bool
        The books were kept from the beginning, or earlier instances were taken in.

    Raises
    ------
    Misconfigured
        Every method may raise it too: the file is no such list, or cannot be read or written.
    """

    _NAME = "the list of films done with beside --state (.done)"
    _REMEDY = "see its disk and its permissions. It may be moved away: films that have a report keep it"

    @property
    def complete(self) -> bool:
        """See above."""
        return bool(self._run("SELECT complete FROM turn")[0][0])

    def completed(self, complete: bool = True) -> None:
        """Say whether the books are complete: whether they know of every instance if it is finished."""
        self._run("UPDATE turn SET complete = ?", (complete,))

    def add(self, instances: Iterable[str], now: float, report: str | None = None) -> None:
        """Add finished instances, with their report in Orthanc if they have one."""
        self._many("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", ((each, report, now) for each in instances))

    # When to compare with what Orthanc has.

    def is_due(self, now: float, longest: float) -> bool:
        """Whether to compare now. If the time lies further ahead than any wait, the clock was set back, and it is due too."""
        ((due, thorough),) = self._run("SELECT due, thorough FROM turn")
        return bool(due <= now or due > now + longest or thorough)

    def hasten(self, due: float) -> None:
        """Compare at `due`, if that is sooner than planned. This also holds during a comparison, which may "
        "miss a change that comes now."""
        self._run("UPDATE turn SET due = min(due, ?)", (due,))

    def require_thorough(self) -> None:
        """Compare at once, and compare the reports too; a crash does not forget this."""
        self._run("UPDATE turn SET thorough = thorough + 1")

    def begin(self, due: float) -> int:
        """Begin a comparison, and plan the next one at `due`. Returns how thorough this one must be, for ``end``."""
        self._run("UPDATE turn SET due = ?", (due,))
        return int(self._run("SELECT thorough FROM turn")[0][0])

    def end(self, thorough: int) -> None:
        """End a comparison that was as thorough as ``begin`` asked."""
        self._run("UPDATE turn SET thorough = thorough - ?", (thorough,))

    # What Orthanc has, listed a part at a time.

    def begin_listing(self) -> None:
        """Forget the earlier list."""
        self._run("DELETE FROM temp.listed")

    def enter(self, instances: Iterable[str]) -> bool:
        """Enter instances that Orthanc has; returns whether any of them was new to the list."""
        before = self._connection.total_changes
        self._many("INSERT OR IGNORE INTO temp.listed VALUES (?)", ((each,) for each in instances))
        return self._connection.total_changes > before

    def missing(self, thorough: bool, most: int) -> list[str]:
        """Instances that are listed but not finished, at most so many. With `thorough`, also those whose report is not listed."""
        lost = "OR (d.report IS NOT NULL AND d.report NOT IN (SELECT instance FROM temp.listed))" if thorough else ""
        rows = self._run(
            "SELECT l.instance FROM temp.listed l LEFT JOIN done d ON d.instance = l.instance "
            f"WHERE d.instance IS NULL {lost} LIMIT ?",
            (most,),
        )
        return [instance for (instance,) in rows]

    def forget_gone(self, before: float) -> None:
        """Forget instances that are not listed, except those that were finished after the listing began."""
        self._run("DELETE FROM done WHERE at < ? AND instance NOT IN (SELECT instance FROM temp.listed)", (before,))

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a power cut may lose the last change, but leaves the file whole
        ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        if version not in {0, FORMAT_VERSION}:
            raise Misconfigured("the list of films done with beside --state is of a later version of this program")
        if version == 0:
            self._connection.executescript(_TABLES)
        self._connection.execute("CREATE TEMP TABLE listed (instance TEXT PRIMARY KEY) WITHOUT ROWID")

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        def run() -> None:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)

        self._do(run)
