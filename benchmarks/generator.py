"""The load, in a process of its own: ``python -m benchmarks.generator`` reads a load as JSON and writes its results.

Closed loop: each client sends its next film when it has its answer. Open loop: films arrive by a Poisson process whether
or not answers came, and latency counts from when a film should have been sent, so a slow service cannot slow its load.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.answers import BenchFilm, ExpectedAnswer, outcome, request
from benchmarks.client import Connection, Lost

MAX_CONNECTIONS = 256
HOSTILE_SHARE = 0.05  # of undecodable films, and again of clients that hang up


class Load:
    """One load on one port."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.port: int = spec["port"]
        self.films = [_film(entry) for entry in spec["films"]]
        self.broken = [_film(entry) for entry in spec["broken"]]
        self.random = random.Random(spec["seed"])
        self.idle: list[Connection] = []
        self.opened = 0
        self.records: list[tuple[str, str, float, float]] = []  # kind, outcome, due, answered
        self.started = time.perf_counter()
        self.turn = self.random.randrange(len(self.films))

    def now(self) -> float:
        """Seconds since the load began."""
        return time.perf_counter() - self.started

    async def one(self, connection: Connection, due: float) -> None:
        """Send one film, or play one hostile client, and record the outcome."""
        kind = self._kind()
        film = self.random.choice(self.broken) if kind == "broken" else self.films[self.turn % len(self.films)]
        self.turn += 1
        head, body = request(self.spec["protocol"], self.spec["path"], film)
        try:
            async with asyncio.timeout(self.spec["timeout"]):
                if kind == "left in upload":
                    await connection.hang_up(head, body, sent=0.5, after=0.02)
                    said = "left"
                elif kind == "left waiting":
                    await connection.hang_up(head, body, sent=1.0, after=0.05)
                    said = "left"
                else:
                    answer = await connection.post(head, body)
                    said = outcome(self.spec["protocol"], film, answer.status, answer.body)
        except TimeoutError:
            said = "timeout"
        except Lost:
            said = "lost"
        self.records.append((kind, said, due, self.now()))

    def _kind(self) -> str:
        if not self.spec["hostile"]:
            return "good"
        draw = self.random.random()
        if draw < HOSTILE_SHARE:
            return "broken"
        if draw < 2 * HOSTILE_SHARE:
            return "left in upload" if draw < 1.5 * HOSTILE_SHARE else "left waiting"
        return "good"

    async def closed(self) -> None:
        """Run `clients` clients for `seconds`, then wait for the requests under way."""

        async def client() -> None:
            connection = Connection(self.port)
            while (due := self.now()) < self.spec["seconds"]:
                await self.one(connection, due)
            connection.close()

        await asyncio.gather(*(client() for _ in range(self.spec["clients"])))

    async def open(self) -> None:
        """Arrivals at `rate` a second for `seconds`."""
        room = asyncio.Semaphore(MAX_CONNECTIONS)

        async def arrival(due: float) -> None:
            async with room:
                connection = self.idle.pop() if self.idle else Connection(self.port)
                await self.one(connection, due)
                self.idle.append(connection)

        due, running = 0.0, set()
        while (due := due + self.random.expovariate(self.spec["rate"])) < self.spec["seconds"]:
            await asyncio.sleep(max(0.0, due - self.now()))
            running.add(asyncio.create_task(arrival(due)))
        await asyncio.gather(*running)
        for connection in self.idle:
            connection.close()

    async def run(self) -> None:
        """Run the open or the closed loop, as the load says."""
        self.started = time.perf_counter()
        await (self.open() if self.spec["rate"] else self.closed())


def _film(entry: dict[str, Any]) -> BenchFilm:
    golden = ExpectedAnswer(**entry["golden"]) if entry["golden"] else None
    return BenchFilm(Path(entry["file"]).read_bytes(), entry["media_type"], golden)


def main() -> int:
    """One load, from standard input to standard output."""
    load = Load(json.load(sys.stdin))
    before = resource.getrusage(resource.RUSAGE_SELF)
    asyncio.run(load.run())
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    json.dump({"records": load.records, "cpu_seconds": cpu, "elapsed": load.now()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
