"""The record of decisions in a database."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.pipeline import Verdict

from .chain import EMPTY, Head, Verification, linked, seal_of
from .decided import Decided, decided
from .entries import Decision, DecisionSubject, Entry, Recalled, written
from .films import KeptFilm, kept_films
from .key import RecordKey
from .tables import CHECKPOINT, ENTRIES, JUDGED

log = logging.getLogger("cxr_gate")

#: Entries that one transaction removes, so that decisions need not wait long for it.
REMOVED_AT_ONCE: Final = 5_000
_READ_AT_ONCE: Final = 1_000


class RecordUnavailable(Exception):
    """The database did not answer; only its operator's own logs show the cause, never the message."""


class Record:
    """Entries, durable once ``write`` returns; may be used from any thread, and beside other processes.

    Parameters
    ----------
    database : Engine
        With its tables (``migrate``). SQLite or PostgreSQL.
    key : RecordKey
        The key of all hashes and seals in this database.
    """

    def __init__(self, database: Engine, key: RecordKey) -> None:
        self.key = key
        self._database = database
        # SQLite allows one writer at a time anyway, and a database in memory is one connection that threads must share.
        self._alone = threading.Lock()

    def find(self, subject: DecisionSubject) -> Verdict | None:
        """The earliest decision about a subject.

        Raises
        ------
        RecordUnavailable
        """
        with self._connected() as connection:
            found = _earliest(connection, subject, self.key)
            return None if found is None else found[1]

    def film_of(self, subject: DecisionSubject) -> str | None:
        """Id of the film that was kept last for a subject, wherever it is now.

        Raises
        ------
        RecordUnavailable
        """
        query = _of_subject(select(ENTRIES.c.film), subject).where(ENTRIES.c.film.is_not(None))
        with self._connected() as connection:
            film: str | None = connection.scalar(query.order_by(ENTRIES.c.id.desc()).limit(1))
            return film

    def films(self, ids: Collection[str] | None = None, *, whole: bool = False) -> dict[str, KeptFilm]:
        """Films in quarantine as the record knows them: these, or all; an id that it does not know is left out.

        Raises
        ------
        RecordUnavailable
        UnsealedEntry
            Only with `whole`: an entry that names one of them was changed.
        """
        with self._connected() as connection:
            return kept_films(connection, self.key, ids, whole=whole)

    def decided(self, filters: Mapping[str, str], before: int | None, limit: int) -> list[Decided]:
        """Decisions, newest first (``decided.decided``).

        Raises
        ------
        RecordUnavailable
        """
        with self._connected() as connection:
            return decided(connection, self.key, filters, before, limit)

    def write(self, items: Sequence[Entry]) -> tuple[list[Recalled | None], Head]:
        """Write decisions and events of films and versions, durably, in one transaction: all of them or none.

        Returns
        -------
        list of Recalled or None
            The answer of each decision; None for an event.
        Head
            The last item's entry.

        Raises
        ------
        RecordUnavailable
        """
        with self._connected(writes=True) as connection:
            head = _head(connection)
            answers: list[Recalled | None] = []
            for item in items:
                if not isinstance(item, Decision):
                    head = _append(connection, head, self.key, item.row())
                    answers.append(None)
                    continue
                known = None
                if item.earliest_holds or (item.explains and item.verdict.accepted):
                    known = _earliest(connection, item.subject, self.key, item.request_id)
                if item.explains and known is not None and not known[1].accepted:
                    known = None
                verdict = item.verdict if known is None else known[1]
                film = None if verdict.accepted else item.film
                head = _append(connection, head, self.key, {**item.row(known), "film": film})
                answers.append(Recalled(verdict, known is not None, head.id, film))
            return answers, head

    def remove_older(self, days: int) -> int:
        """Remove the oldest entries that are older than so many days, at most ``REMOVED_AT_ONCE``.

        A wrong clock writes entries that are dated in the future. Entries are in order, so such an entry is at least as old
        as the next one with a past date. It is removed with the old entries after it, and stops nothing.

        A checkpoint, sealed like every entry, says where the record begins from now on.

        Returns
        -------
        int
            Entries removed.

        Raises
        ------
        RecordUnavailable
        """
        now = datetime.now(UTC)
        limit = written(now - timedelta(days=days))
        columns = ENTRIES.c
        with self._connected(writes=True) as connection:
            head = _head(connection)
            first = connection.scalar(select(func.min(columns.id)))
            # Remove up to the first younger entry: clocks may have been set back, and the chain has no gaps.
            is_young = (columns.time >= limit) & (columns.time <= written(now))
            young = connection.scalar(select(func.min(columns.id)).where(is_young)) or head.id + 1
            old = connection.scalar(select(func.max(columns.id)).where((columns.time < limit) & (columns.id < young)))
            if first is None or old is None:
                return 0
            last = min(old, first + REMOVED_AT_ONCE - 1)
            seal = connection.scalar(select(columns.seal).where(columns.id == last))
            checkpoint = {"kind": CHECKPOINT, "time": written(), "removed_through": last, "removed_seal": seal}
            _append(connection, head, self.key, checkpoint)
            connection.execute(delete(ENTRIES).where(columns.id <= last))
            return int(last - first + 1)

    def oldest(self) -> datetime | None:
        """Time of the oldest entry that is not dated in the future; None if there is none.

        Raises
        ------
        RecordUnavailable
        """
        query = select(ENTRIES.c.time).where(ENTRIES.c.time <= written()).order_by(ENTRIES.c.id).limit(1)
        with self._connected() as connection:
            time = connection.scalar(query)
            return datetime.fromisoformat(time) if time else None

    def head(self) -> Head:
        """The newest entry.

        Raises
        ------
        RecordUnavailable
        """
        with self._connected() as connection:
            return _head(connection)

    def verify(self, expected: Head | None = None) -> Verification:
        """Read the whole record, and follow its chain.

        Raises
        ------
        RecordUnavailable
        """
        verification = Verification(self.key, expected)
        with self._connected() as connection:
            for entry in entries(connection):
                verification.take(entry)
        verification.end()
        return verification

    def close(self) -> None:
        """Let go of the database."""
        self._database.dispose()

    @contextmanager
    def _connected(self, *, writes: bool = False) -> Iterator[Connection]:
        """A transaction; one that writes is alone among all processes, so that the chain does not fork."""
        try:
            with self._alone, self._database.connect() as connection, transaction(connection, writes=writes):
                yield connection
        except SQLAlchemyError as error:
            # The error's own text holds the statement with its values.
            raise RecordUnavailable(
                f"the record of decisions did not answer ({type(error).__name__}); try again shortly"
            ) from error


@contextmanager
def transaction(connection: Connection, *, writes: bool) -> Iterator[None]:
    """A transaction: it sees one unchanging view of the database, or, if it writes, is the only writer."""
    if connection.dialect.name == "sqlite":
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE" if writes else "BEGIN")
    elif not writes:
        connection.execution_options(isolation_level="REPEATABLE READ")
    with connection.begin():
        if writes and connection.dialect.name == "postgresql":
            # The number is arbitrary, but no other user of the database may take it.
            connection.execute(text("SELECT pg_advisory_xact_lock(709930551)"))
        yield


def entries(connection: Connection) -> Iterator[dict[str, Any]]:
    """All entries in order, a part at a time."""
    last = -1
    while True:
        query = select(ENTRIES).where(ENTRIES.c.id > last).order_by(ENTRIES.c.id).limit(_READ_AT_ONCE)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        yield from map(dict, rows)
        last = rows[-1]["id"]


def _head(connection: Connection) -> Head:
    newest = select(ENTRIES.c.id, ENTRIES.c.seal).order_by(ENTRIES.c.id.desc()).limit(1)
    row = connection.execute(newest).first()
    return EMPTY if row is None else Head(row.id, row.seal)


def _append(connection: Connection, head: Head, key: RecordKey, values: dict[str, Any]) -> Head:
    (entry,) = linked([values], head, key)
    connection.execute(insert(ENTRIES), entry)
    return Head(entry["id"], entry["seal"])


def _of_subject(query: Select[Any], subject: DecisionSubject) -> Select[Any]:
    return query.where(*(ENTRIES.c[name] == value for name, value in subject._asdict().items()))


def _earliest(
    connection: Connection, subject: DecisionSubject, key: RecordKey, request_id: str | None = None
) -> tuple[int, Verdict] | None:
    """The number and the verdict of the first entry that matches its seal.

    Parameters
    ----------
    request_id : str or None
        Id for the log, in a thread that serves no request; None: the log names the present request.
    """
    query = _of_subject(select(ENTRIES).where(ENTRIES.c.kind == JUDGED), subject).order_by(ENTRIES.c.id)
    for row in connection.execute(query).mappings():
        if seal_of(dict(row), key) == row["seal"]:
            written = row["probabilities"]
            probabilities = None if written is None else np.asarray(json.loads(written), dtype=np.float64)
            return row["id"], Verdict(row["verdict"] == "accepted", row["log_density"], probabilities)
        # A verdict that an intruder wrote into the database must never be answered.
        named = {"request_id": request_id} if request_id else {}
        log.error(
            "an entry of the record does not match its seal; run cxr-gate verify-record",
            extra={"entry": row["id"], **named},
        )
    return None
