"""Films, posted as they are due, and what became of each."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import numpy as np
from tqdm import tqdm

from benchmarks.day.films import SEED, Posted
from benchmarks.day.plan import Phase

HOUR: Final = 3600.0
AT_ONCE: Final = 8  # clients of `all_of`


@dataclass(frozen=True)
class Sent:
    """One film and its answer: the status, and the problem's name where it is none of 200 and 422."""

    phase: str
    kind: str
    film: Posted
    answer: str
    request_id: str
    model_version: str


@dataclass
class Traffic:
    """The clients of one service.

    Attributes
    ----------
    began : float
        Unix time at which the day began.
    pools : dict
        Kind -> films. Each is posted once before any is posted again.
    phases : list of dict
        What has been: name, expected alerts, ``from`` and ``to`` in hours of the day, ``load`` (the machine's
        load average at its end), and answers by kind.
    """

    url: str
    key: str
    pools: dict[str, list[Posted]]
    factor: int
    began: float = field(default_factory=time.time)
    sent: list[Sent] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(SEED)
        self._next = {kind: self._endless(films) for kind, films in self.pools.items()}

    def hours(self, moment: float | None = None) -> float:
        """Unix time (None: now) -> hours of the day."""
        return ((time.time() if moment is None else moment) - self.began) * self.factor / HOUR

    def _endless(self, films: list[Posted]) -> Iterator[Posted]:
        while True:
            for index in self._random.permutation(len(films)):
                yield films[index]

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.AsyncClient(base_url=self.url, timeout=60, headers=headers)

    async def run(self, phase: Phase, until: asyncio.Event | None = None) -> None:
        """Post a phase's films; it ends with its time, or when the event is set."""
        start = self.hours()
        arrivals = sorted(
            (start + hour, kind) for kind, rate in phase.films.items() for hour in self._poisson(60 * rate, phase.hours)
        )
        title = f"{phase.name}, from {start:04.1f} h"
        async with self._client() as client, asyncio.TaskGroup() as posts:
            with tqdm(total=len(arrivals), desc=title, unit="film", disable=None) as progress:
                for due, kind in arrivals:
                    if not await self._reached(due, until):
                        break
                    posts.create_task(self._post(client, phase.name, kind, next(self._next[kind])))
                    progress.update()
            await self._reached(start + phase.hours, until)
        here = [sent for sent in self.sent if sent.phase == phase.name]
        answered = {kind: dict(Counter(s.answer for s in here if s.kind == kind)) for kind in phase.films}
        row = {"name": phase.name, "from": round(start, 3), "to": round(self.hours(), 3), "load": os.getloadavg()[0]}
        versions = sorted({sent.model_version for sent in here if sent.model_version})
        self.phases.append(row | {"expected": sorted(phase.expected), "films": answered, "versions": versions})

    async def _reached(self, hour: float, until: asyncio.Event | None) -> bool:
        """Wait for an hour of the day; False if the event came first."""
        seconds = (hour - self.hours()) * HOUR / self.factor
        if until is None:
            await asyncio.sleep(max(seconds, 0))
            return True
        try:
            await asyncio.wait_for(until.wait(), max(seconds, 0))
        except TimeoutError:
            return True
        return False

    def _poisson(self, rate: float, hours: float) -> Iterator[float]:
        at = self._random.exponential(1 / rate)
        while at < hours:
            yield at
            at += self._random.exponential(1 / rate)

    async def _post(self, client: httpx.AsyncClient, phase: str, kind: str, film: Posted) -> Sent:
        try:
            response = await client.post("/v1/score", content=film.body, headers={"Content-Type": film.media_type})
        except httpx.TransportError as error:
            sent = Sent(phase, kind, film, type(error).__name__, "", "")
        else:
            body = response.json()
            answer = str(response.status_code)
            if response.status_code not in (200, 422):
                answer += " " + body["type"].removeprefix("/problems/")
            sent = Sent(phase, kind, film, answer, body["request_id"], body.get("model_version", ""))
        self.sent.append(sent)
        return sent

    async def all_of(self, title: str, kind: str) -> list[Sent]:
        """Every film of a kind once, as fast as the service takes them."""
        waiting = iter(tqdm(self.pools[kind], desc=title, unit="film", disable=None))
        answered: list[Sent] = []

        async def work(client: httpx.AsyncClient) -> None:
            for film in waiting:
                answered.append(await self._post(client, title, kind, film))

        async with self._client() as client, asyncio.TaskGroup() as clients:
            for _ in range(AT_ONCE):
                clients.create_task(work(client))
        return answered
