"""Several processes on one record, and processes that are killed: the chain neither forks nor breaks, and loses nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from app.metrics import Metrics
from app.pipeline import Verdict
from app.pipeline.labels import LABELS
from app.records import DecisionSubject, Writer, open_record
from tests.records.making import decision, execute

#: Its processes are forked from one that has imported torch and does nothing else, which spares each some seconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def subject(name: str, number: int) -> DecisionSubject:
    return DecisionSubject(f"{name}-{number}", "0" * 64, "model")


def write(url: str, key: Path, name: str, count: int, said: Connection) -> None:
    """Write decisions through the writer's thread, 3 at a time, and say which are durable."""
    record = open_record(url, key)
    writer = Writer(record, Metrics())
    writer.start()

    async def lane(first: int) -> None:
        for number in range(first, count, 3):
            await writer.keep(decision(subject(name, number), Verdict(True, float(number), np.full(len(LABELS), 0.5))))
            said.send(number)

    async def lanes() -> None:
        await asyncio.gather(*map(lane, range(3)))

    asyncio.run(lanes())
    writer.stop()
    record.close()


class Writing:
    """A process that writes."""

    def __init__(self, url: str, key: Path, name: str, count: int) -> None:
        self.said, theirs = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=write, args=(url, key, name, count, theirs))
        self.process.start()
        theirs.close()

    def to_its_end(self) -> list[int]:
        """What it says until it ends."""
        told = []
        try:
            while True:
                told.append(self.said.recv())
        except (EOFError, OSError):  # the latter where a kill cut a message short
            self.process.join(60)
            self.said.close()
            return told


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_several_processes_write_one_chain(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    made: Callable[[], str] = (
        request.getfixturevalue("new_postgresql")
        if where == "postgresql"
        else lambda: f"sqlite:///{tmp_path}/record.sqlite"
    )
    url, key, names, count = made(), tmp_path / "key", ["a", "b", "c"], 100
    writers = [Writing(url, key, name, count) for name in names]
    for writer in writers:
        assert sorted(writer.to_its_end()) == list(range(count))
        assert writer.process.exitcode == 0
    opened = open_record(url, key)
    verified = opened.verify()
    assert (verified.faults, verified.count) == ([], len(names) * count)
    for name in names:
        for number in range(count):
            found = opened.find(subject(name, number))
            assert found is not None
            assert found.log_density == number
    opened.close()


def test_what_was_kept_survives_a_kill(tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/record.sqlite", tmp_path / "key"
    randomness = random.Random(4)
    for kill in range(5):
        writer = Writing(url, key, str(kill), 10**9)
        told = [writer.said.recv()]
        time.sleep(randomness.uniform(0.0, 0.15))
        assert writer.process.pid is not None
        os.kill(writer.process.pid, signal.SIGKILL)
        told += writer.to_its_end()
        opened = open_record(url, key)
        for number in told:
            assert opened.find(subject(str(kill), number)) is not None
        assert opened.verify().faults == []
        opened.close()
        assert execute(tmp_path / "record.sqlite", "PRAGMA integrity_check") == [("ok",)]
