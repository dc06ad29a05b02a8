"""Decisions to write, and databases to write them to."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.pipeline import DecodedImage, Verdict
from app.pipeline.labels import LABELS
from app.records import Decision, DecisionSubject, Recalled, Record, RecordKey
from tests.support.processes import free_port
from tests.support.waiting import eventually

UID = "1.2.826.0.1.3680043.8.498.1"


def verdict(seed: int = 0, accepted: bool = True) -> Verdict:
    generator = np.random.default_rng(seed)
    return Verdict(accepted, float(generator.normal(2000, 300)), generator.random(len(LABELS)) if accepted else None)


def image(seed: int = 0) -> DecodedImage:
    return DecodedImage.of(np.random.default_rng(seed).random((8, 6), dtype=np.float32), "dicom")


def subject(key: RecordKey, seed: int = 0) -> DecisionSubject:
    return DecisionSubject(key.of_uid(UID), key.of_pixels(image(seed).pixels), "model")


def decision(about: DecisionSubject, given: Verdict, **fields: Any) -> Decision:
    usual = {
        "percentile": 37.5,
        "request_id": "request",
        "caller": "anonymous",
        "route": "/v1/score",
        "source_kind": "dicom",
        "seconds": 0.25,
    }
    return Decision(about, given, **(usual | fields))


def keep(record: Record, about: DecisionSubject, given: Verdict, **fields: Any) -> Recalled:
    (answer,), _ = record.write([decision(about, given, **fields)])
    return answer


def fill(record: Record, count: int) -> None:
    """Entries with accepted and rejected films, in transactions of several sizes."""
    number = 0
    while number < count:
        several = range(number, min(number + 1 + number % 4, count))
        record.write([decision(subject(record.key, seed), verdict(seed, seed % 3 != 0)) for seed in several])
        number = several.stop


def same(left: Verdict | None, right: Verdict) -> bool:
    assert left is not None
    assert (left.accepted, left.log_density) == (right.accepted, right.log_density)
    return np.array_equal(left.probabilities, right.probabilities)  # to the bit, or both None


def execute(path: Path, *statements: str) -> list[Any]:
    """Do to a SQLite file what an intruder would; gives the last statement's rows."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows
    finally:
        connection.close()


@contextmanager
def postgresql() -> Iterator[Callable[[], str]]:
    """A server of its own on a free port of this machine; each call empties its database, and gives the URL."""
    pytest.importorskip("psycopg", reason="psycopg is absent: pip install 'cxr-gate[postgresql]'")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is absent: apt-get install postgresql")
    # It refuses to run as root.
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="cxr-postgresql-"))
    server = None
    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        with (folder / "log").open("wb") as log:
            made = [str(programs[-1]), "-D", str(data), "-U", "cxr", "-A", "trust", "-E", "UTF8", "--no-sync"]
            subprocess.run(made, cwd=folder, stdout=log, stderr=log, check=True, **user)  # type: ignore[call-overload]
            port = free_port()
            arguments = ["-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
            server = subprocess.Popen(
                [str(programs[-1].with_name("postgres")), *arguments],
                cwd=folder,
                stdout=log,
                stderr=log,
                **user,  # type: ignore[call-overload]
            )
        yield _database(port, server, folder / "log")
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait(timeout=30)
        shutil.rmtree(folder)


def _database(port: int, server: subprocess.Popen[bytes], log: Path) -> Callable[[], str]:
    import psycopg

    where = f"postgresql://cxr@127.0.0.1:{port}/"

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with suppress(psycopg.OperationalError):
            psycopg.connect(where + "postgres").close()
            return True
        return False

    eventually(answers, 30, log.read_text)

    def emptied() -> str:
        with psycopg.connect(where + "postgres", autocommit=True, options="-c lock_timeout=10s") as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return where + "postgres"

    return emptied
