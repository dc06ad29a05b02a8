"""Turns of callers at the decoders."""

from __future__ import annotations

import asyncio
import random

import pytest

from app.engine.share import Share


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Films:
    """Films of callers in a share; each is held until it is ended."""

    def __init__(self, most: int) -> None:
        self.share = Share(most)
        self.running: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    def send(self, *names: str) -> None:
        """A name is the caller and a number: ``a1``."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._film(name))

    async def _film(self, name: str) -> None:
        async with self.share.of(name[0]):
            self.running.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.running.remove(name)


def test_another_callers_film_waits_for_nobody() -> None:
    async def scenario() -> None:
        films = Films(2)
        films.send("a1", "a2", "a3", "a4", "b1")
        await settled()
        assert films.running == ["a1", "a2", "b1"]
        assert films.share.waiting == 2
        films.ends["a2"].set()
        await settled()
        assert films.running == ["a1", "b1", "a3"]  # in the order of coming
        for end in films.ends.values():
            end.set()
        await asyncio.gather(*films.tasks.values())
        assert (films.share.waiting, films.share._held, films.share._waiting) == (0, {}, {})

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(5))
def test_whoever_gives_up_takes_no_turn_along(seed: int) -> None:
    """Ends and hang-ups in any order, also in one moment: no turn is lost, and none is made."""

    async def scenario() -> None:
        draw = random.Random(seed)
        films = Films(2)
        names = [f"{caller}{number}" for caller in "abc" for number in range(12)]
        films.send(*draw.sample(names, len(names)))
        while left := [name for name, task in films.tasks.items() if not task.done()]:
            for name in draw.sample(left, min(len(left), 3)):
                if draw.random() < 0.5:
                    films.tasks[name].cancel()
                elif name in films.running:
                    films.ends[name].set()
            for _ in range(draw.randrange(4)):
                await asyncio.sleep(0)
            assert all(sum(name[0] == caller for name in films.running) <= 2 for caller in "abc")
        await asyncio.gather(*films.tasks.values(), return_exceptions=True)
        assert (films.share.waiting, films.share._held, films.share._waiting) == (0, {}, {})

    asyncio.run(asyncio.wait_for(scenario(), 20))
