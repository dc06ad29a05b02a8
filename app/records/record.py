"""The record of decisions in a database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import SQLAlchemyError

from app.pipeline import Verdict

from .key import RecordKey
from .tables import DECISIONS, METADATA


class RecordUnavailable(Exception):
    """The database did not answer; what was wrong is logged by its operator's means, never shown."""


class Subject(NamedTuple):
    """What a decision is about: by keyed hashes, and by the model that decided."""

    instance_hash: str
    pixels_hash: str
    model_version: str


class Record:
    """Decisions, durable once ``keep`` returns; may be used from any thread.

    Parameters
    ----------
    database : Engine
        Its table is made if there is none.
    key : RecordKey
        Of all hashes in this database.
    """

    def __init__(self, database: Engine, key: RecordKey) -> None:
        self.key = key
        self._database = database
        # SQLite writes one at a time anyway, and a database in memory is one connection that threads must share.
        self._alone = threading.Lock()
        METADATA.create_all(database)

    def find(self, subject: Subject) -> Verdict | None:
        """The earliest decision about a subject.

        Raises
        ------
        RecordUnavailable
        """
        try:
            with self._alone, self._database.connect() as connection:
                return _earliest(connection, subject)
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def keep(self, subject: Subject, verdict: Verdict, request_id: str) -> Verdict:
        """Write a decision durably.

        Returns
        -------
        Verdict
            The earliest about the subject, which is another one if another process was faster.

        Raises
        ------
        RecordUnavailable
        """
        probabilities = None if verdict.probabilities is None else [float(value) for value in verdict.probabilities]
        row = {
            **subject._asdict(),
            "time": datetime.now(UTC),
            "request_id": request_id,
            "verdict": "accepted" if verdict.accepted else "rejected",
            "log_density": verdict.log_density,
            "probabilities": probabilities,
        }
        try:
            with self._alone, self._database.begin() as connection:
                connection.execute(insert(DECISIONS).values(row))
                return _earliest(connection, subject) or verdict
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Let go of the database."""
        self._database.dispose()


def _earliest(connection: Connection, subject: Subject) -> Verdict | None:
    columns = DECISIONS.c
    query = (
        select(columns.verdict, columns.log_density, columns.probabilities)
        .where(*(columns[name] == value for name, value in subject._asdict().items()))
        .order_by(columns.id)
        .limit(1)
    )
    if (row := connection.execute(query).first()) is None:
        return None
    probabilities = None if row.probabilities is None else np.asarray(row.probabilities, dtype=np.float64)
    return Verdict(row.verdict == "accepted", row.log_density, probabilities)


def _unavailable(error: SQLAlchemyError) -> RecordUnavailable:
    # The error's own text holds the statement with its values.
    return RecordUnavailable(f"the record of decisions did not answer ({type(error).__name__}); try again shortly")
