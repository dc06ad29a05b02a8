"""What a version in shadow costs the callers: one service, with and without it, in turns, as Markdown.

    python -m benchmarks.shadow

At moderate load (films come at random, at a share of what the service can do; a film's time counts from when it was due) and
in a closed loop, which leaves the shadow only the moments in which all callers are being decoded. Ratios are taken within a
round, so that what else the machine does weighs on both alike. The shadow is the served bundle under another name: the same
work, and, as a check, the same decisions.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.access import add_key
from app.pipeline import read_bundle
from app.pipeline.bundle import write_bundle

from .client import Connection
from .films import encode, source
from .record import START_SECONDS, start


def twin(bundle: Path, folder: Path) -> str:
    """Write the bundle once more, made another version by its seed; gives the version."""
    read = read_bundle(bundle)
    content: dict[str, Any] = read.manifest.content()
    del content["files"], content["model_version"]
    content["provenance"]["seed"] += 1
    parts = (read.network, read.density, read.orientation, read.content, read.golden, read.typical_maps)
    return write_bundle(folder, content, *parts, {"MODEL_CARD.md": b"# A twin\n"}).model_version


#: Films a second, and seconds of each.
Turn = tuple[float, list[float]]
#: Of a turn: films a second, median and 99th percentile in milliseconds.
FIGURES: tuple[Callable[[Turn], float], ...] = (
    lambda turn: turn[0],
    lambda turn: 1000 * float(np.median(turn[1])),
    lambda turn: 1000 * float(np.percentile(turn[1], 99)),
)


class Poster:
    """Posts films with a key that may score."""

    def __init__(self, port: int, films: list[bytes], key: str) -> None:
        self._port = port
        self._films = films
        self._key = key

    async def post(self, connection: Connection, number: int) -> None:
        """Post one film; every answer must be a verdict."""
        film = self._films[number % len(self._films)]
        lines = ("POST /v1/score HTTP/1.1", "Host: x", f"Authorization: Bearer {self._key}", "Content-Type: image/png")
        head = "\r\n".join((*lines, f"Content-Length: {len(film)}", "", ""))
        status = (await connection.post(head.encode(), film)).status
        if status not in (200, 422):
            raise SystemExit(f"the answer was {status}")

    async def at_random(self, requests: int, rate: float, seed: int) -> Turn:
        """Send `rate` films a second at random times; gives films a second, and each film's seconds from when it was due."""
        due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, requests))
        idle: list[Connection] = []
        began = time.perf_counter()

        async def one(number: int) -> float:
            await asyncio.sleep(max(0.0, began + due[number] - time.perf_counter()))
            connection = idle.pop() if idle else Connection(self._port)
            await self.post(connection, number)
            idle.append(connection)
            return time.perf_counter() - began - float(due[number])

        seconds = await asyncio.gather(*(one(number) for number in range(requests)))
        took = time.perf_counter() - began
        for connection in idle:
            connection.close()
        return requests / took, seconds

    async def in_turn(self, requests: int, clients: int) -> Turn:
        """The same in a closed loop."""
        left = iter(range(requests))
        seconds = []

        async def client() -> None:
            connection = Connection(self._port)
            for number in left:
                began = time.perf_counter()
                await self.post(connection, number)
                seconds.append(time.perf_counter() - began)
            connection.close()

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return requests / (time.perf_counter() - began), seconds


class Operator:
    """Lets the version run in shadow, or not."""

    def __init__(self, port: int, key: str, version: str) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=START_SECONDS
        )
        self._version = version

    def set(self, shadow: bool) -> None:
        """Begin the shadow, or withdraw it."""
        if shadow:
            answer = self._client.post(f"/v1/versions/{self._version}/shadow")
        else:
            answer = self._client.delete("/v1/versions/shadow")
        answer.raise_for_status()

    def compared(self) -> tuple[int, int, int]:
        """Counts of films: the shadow decided as the active version did, the shadow decided, and the shadow was spared."""
        comparison = self._client.get("/v1/versions").json()["comparison"]
        same = sum(each["films"] for each in comparison["films"] if each["active"] == each["shadow"])
        return same, sum(each["films"] for each in comparison["films"]), comparison["dropped"]


def measure(caller: Poster, operator: Operator, parsed: argparse.Namespace) -> None:
    """Load in turns, and print."""
    closed, _ = asyncio.run(caller.in_turn(32, parsed.clients))  # warm-up, and what the service can do
    closed, _ = asyncio.run(caller.in_turn(parsed.requests, parsed.clients))
    rate = parsed.share * closed
    loads: dict[str, Callable[[int], Turn]] = {
        f"{rate:.1f} films/s at random": lambda turn: asyncio.run(caller.at_random(parsed.requests, rate, turn)),
        f"closed loop of {parsed.clients}": lambda _: asyncio.run(caller.in_turn(parsed.requests, parsed.clients)),
    }
    taken: dict[tuple[str, bool], list[Turn]] = {}
    compared = {load: [0, 0, 0] for load in loads}
    for turn in range(parsed.rounds):
        for load, run in loads.items():
            for shadow in random.Random(turn).sample((False, True), 2):
                operator.set(shadow)
                taken.setdefault((load, shadow), []).append(run(turn))
                if shadow:
                    compared[load] = [a + b for a, b in zip(compared[load], operator.compared(), strict=True)]
    print(
        f"{parsed.rounds} rounds of {parsed.requests} films; films a second and milliseconds, medians of the rounds\n"
    )
    print("| load | shadow | films/s | median | p99 | films/s of that without | median | p99 |\n|" + "---|" * 8)
    for load in loads:
        without = taken[load, False]
        for shadow in (False, True):
            turns = taken[load, shadow]
            measured = [statistics.median(figure(turn) for turn in turns) for figure in FIGURES]
            ratios = [
                statistics.median(figure(turn) / figure(other) for turn, other in zip(turns, without, strict=True))
                for figure in FIGURES
            ]
            cells = [
                f"{measured[0]:.1f}",
                *(f"{each:.0f}" for each in measured[1:]),
                *(f"{each:.2f}" for each in ratios),
            ]
            print(f"| {load} | {'yes' if shadow else 'no'} | {' | '.join(cells)} |")
    for load, (same, judged, dropped) in compared.items():
        print(
            f"\n{load}: the shadow judged {judged} films within the turns, {same} of them as the active version did; "
            f"{dropped} were too many to wait for it."
        )


def main() -> None:
    """Start the service, load it in turns, print, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--requests", type=int, default=80, help="in a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--share", type=float, default=0.5, help="moderate load, of what the closed loop gives")
    parser.add_argument("--clients", type=int, default=8)
    parsed = parser.parse_args()
    pictures = source(read_bundle(parsed.bundle)).pictures[:16]
    films = [encode("png", picture, seed) for seed, picture in enumerate(pictures)]
    here = Path(__file__).resolve().parents[1]
    build = here / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name)
        version = twin(parsed.bundle, folder / "bundles" / "twin")
        keys = folder / "callers.json"
        score, operate = (add_key(keys, scope, [scope]) for scope in ("score", "operate"))
        settings = {
            "CXR_BUNDLES": str(folder / "bundles"),
            "CXR_VERSIONS_FILE": str(folder / "active.json"),
            "CXR_KEYS_FILE": str(keys),
            "CXR_RECORD_URL": "sqlite://",
        }
        arm = start(here, parsed.bundle, folder, "service", **settings)
        with arm.server:
            measure(Poster(arm.port, films, score), Operator(arm.port, operate, version), parsed)


if __name__ == "__main__":
    main()
