"""An engine whose screeners do as they are told."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image

from app.engine import Engine, Judged, Place, Version
from app.metrics import Metrics
from app.pipeline import Screener
from app.settings import Settings
from tests.support.screeners import ToldScreener, picture

SECONDS = 10.0


def film(mark: int) -> bytes:
    """A PNG with a mark, by which the screener knows it."""
    buffer = io.BytesIO()
    Image.fromarray(picture(mark)).save(buffer, "PNG")
    return buffer.getvalue()


Read = Callable[[Place], Awaitable[bytes]]


def given(data: bytes) -> Read:
    """A body that is there already."""

    async def read(place: Place) -> bytes:
        place.reserve(len(data))
        return data

    return read


async def judged(engine: Engine, sharer: str, read: Read) -> Judged:
    """What a request comes to that posts one film."""
    with engine.place(sharer) as place:
        async with engine.deadline() as deadline:
            async with place.arriving():
                data = await read(place)
            _, tensor = await engine.decode(sharer, data, deadline.expires)
            return await engine.judge(engine.active, tensor, deadline.expires)


@dataclass(frozen=True, eq=False)
class ToldVersion(Version):
    """A version without a bundle."""

    called: str = "told"

    @property
    def name(self) -> str:
        return self.called


def version(called: str, *screeners: ToldScreener) -> Version:
    return ToldVersion(tuple(cast(Screener, screener) for screener in screeners), called)


class Bench:
    """An engine whose first device is held by film 10 until `release`."""

    def __init__(self, *screeners: ToldScreener, **settings: Any) -> None:
        self.screeners = screeners
        self.screener = screeners[0]
        self.metrics = Metrics()
        chosen = Settings(**{"decode_threads": 1, "deadline_seconds": SECONDS, "drain_seconds": 5, **settings})
        self.engine = Engine(version("told", *screeners), chosen, self.metrics)
        self.submitted = 0

    def submit(self, mark: int) -> asyncio.Task[Judged]:
        self.submitted += 1
        return asyncio.create_task(judged(self.engine, f"sender {self.submitted}", given(film(mark))))

    async def hold(self) -> asyncio.Task[Judged]:
        self.screener.gate.clear()
        self.screener.entered.clear()
        task = self.submit(10)
        assert await asyncio.to_thread(self.screener.entered.wait, SECONDS)
        return task

    async def queued(self) -> None:
        """Until all that was submitted is decoded and waits for the device."""
        await self.until("cxr_queue_films", self.submitted - 1, queue="device")

    def release(self) -> None:
        for screener in self.screeners:
            screener.gate.set()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    async def until(self, name: str, value: float, **labels: str) -> None:
        """Until a metric has this value."""
        end = time.monotonic() + SECONDS
        while self.metric(name, **labels) != value:
            assert time.monotonic() < end, f"{name} is {self.metric(name, **labels)}, not {value}"
            await asyncio.sleep(0.005)

    @property
    def waiting(self) -> float | None:
        return self.metric("cxr_waiting_requests")


@asynccontextmanager
async def running(*screeners: ToldScreener, **settings: Any) -> AsyncIterator[Bench]:
    bench = Bench(*screeners, **settings)
    bench.engine.start()
    try:
        yield bench
    finally:
        bench.release()
        await asyncio.to_thread(bench.engine.stop)


async def outcomes(*tasks: asyncio.Task[Judged]) -> list[float | type[BaseException]]:
    """Each film's log density (its mark), or the type of its error."""
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS)
    return [type(result) if isinstance(result, BaseException) else result.verdict.log_density for result in results]
