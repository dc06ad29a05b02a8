"""Which of Orthanc's instances are done with, so that one which the log of changes did not tell of is found.

The log loses entries: an Orthanc that was restored from a backup has another, and whoever may write to it can clear it. What is
here names instances by Orthanc's names, which are hashes of identifiers: the file is for its owner alone. It is no more than
memory: an entry that is lost costs a request, since a film that has a report keeps it.
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
    """Where the books of a forwarder are, whose state file this is."""
    return state.with_name(state.name + ".done")


class Books(SqliteFile):
    """The instances that are done with, in an SQLite file; ``close`` after use. Times are Unix times, s.

    Attributes
    ----------
    complete : bool
        They were kept from the beginning, or what was there before was taken in.

    Raises
    ------
    Misconfigured
        From every method too: the file is no such list, or cannot be read or written.
    """

    _NAME = "the list of films done with beside --state (.done)"
    _REMEDY = "see its disk and its permissions. It may be moved away: films that have a report keep it"

    @property
    def complete(self) -> bool:
        """See above."""
        return bool(self._run("SELECT complete FROM turn")[0][0])

    def completed(self, complete: bool = True) -> None:
        """From now on they say of every instance whether it is done with; or not, until what is there is taken in."""
        self._run("UPDATE turn SET complete = ?", (complete,))

    def add(self, instances: Iterable[str], now: float, report: str | None = None) -> None:
        """These are done with, and have this report in Orthanc if they have one."""
        self._many("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", ((each, report, now) for each in instances))

    # When to compare with what Orthanc has.

    def is_due(self, now: float, longest: float) -> bool:
        """Whether they are to be compared now; also where that lies further ahead than any wait, since the clock was set back."""
        ((due, thorough),) = self._run("SELECT due, thorough FROM turn")
        return bool(due <= now or due > now + longest or thorough)

    def hasten(self, due: float) -> None:
        """Compare at `due`, if that is sooner; also while they are compared, since that may be too late for what is told now."""
        self._run("UPDATE turn SET due = min(due, ?)", (due,))

    def require_thorough(self) -> None:
        """Compare at once, by the reports too; a crash does not forget it."""
        self._run("UPDATE turn SET thorough = thorough + 1")

    def begin(self, due: float) -> int:
        """They are compared now, and again at `due`; returns whether that is to be thorough, as ``end`` takes it."""
        self._run("UPDATE turn SET due = ?", (due,))
        return int(self._run("SELECT thorough FROM turn")[0][0])

    def end(self, thorough: int) -> None:
        """They are compared as thoroughly as it was asked for when that began."""
        self._run("UPDATE turn SET thorough = thorough - ?", (thorough,))

    # What Orthanc has, listed a part at a time.

    def begin_listing(self) -> None:
        """Forget the list before."""
        self._run("DELETE FROM temp.listed")

    def enter(self, instances: Iterable[str]) -> bool:
        """Orthanc has these; whether any of them was not listed yet."""
        before = self._connection.total_changes
        self._many("INSERT OR IGNORE INTO temp.listed VALUES (?)", ((each,) for each in instances))
        return self._connection.total_changes > before

    def missing(self, thorough: bool, most: int) -> list[str]:
        """At most so many that are listed and not done with; `thorough` takes those too whose report is not listed."""
        lost = "OR (d.report IS NOT NULL AND d.report NOT IN (SELECT instance FROM temp.listed))" if thorough else ""
        rows = self._run(
            "SELECT l.instance FROM temp.listed l LEFT JOIN done d ON d.instance = l.instance "
            f"WHERE d.instance IS NULL {lost} LIMIT ?",
            (most,),
        )
        return [instance for (instance,) in rows]

    def forget_gone(self, before: float) -> None:
        """Forget what is not listed, but for what was done with after the listing began."""
        self._run("DELETE FROM done WHERE at < ? AND instance NOT IN (SELECT instance FROM temp.listed)", (before,))

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may take the last, and leaves it whole
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
