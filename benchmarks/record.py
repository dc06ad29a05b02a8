"""What the record of decisions costs: the same service with its record in memory and on disk, in turns, as Markdown.

    python -m benchmarks.record [--other TREE]

Turns are short and next to each other, and ratios are taken within a round, so that what else the machine does weighs on
all alike; CPU time, which waits for nobody, stands beside. `--other` adds a checkout of the code, such as one whose
``/v1/score`` records nothing, to see the hashes and the writing together.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from app.pipeline import read_bundle

from .client import Connection
from .films import encode, source
from .processes import Server

HERE = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0


@dataclass
class Arm:
    """One way to run the service, and its measurements: films a second, and CPU milliseconds a film."""

    server: Server
    port: int
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def start(tree: Path, bundle: Path, folder: Path, name: str, **settings: str) -> Arm:
    """Serve from a checkout, and wait until it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")}
    environment = {**own, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(tree.resolve()), **settings}
    command = [sys.executable, "-m", "app.cli", "serve", "--bundle", str(bundle.resolve()), "--port", str(port)]
    server = Server(command, environment, folder / f"{name}.log")
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return Arm(server, port)
        except httpx.TransportError:
            time.sleep(0.1)
        if not server.alive or time.monotonic() > end:
            server.stop()
            raise SystemExit(f"{name} did not become ready:\n" + (folder / f"{name}.log").read_text())


async def post(connection: Connection, film: bytes) -> int:
    """Status of one answer."""
    head = f"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(film)}\r\n\r\n"
    return (await connection.post(head.encode(), film)).status


async def load(port: int, films: list[bytes], requests: int, clients: int) -> float:
    """Films a second in a closed loop."""
    left = iter(range(requests))

    async def client() -> None:
        connection = Connection(port)
        for number in left:
            if (status := await post(connection, films[number % len(films)])) != 200:
                raise SystemExit(f"the answer was {status}")
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return requests / (time.perf_counter() - started)


async def accepted(port: int, films: list[bytes]) -> list[bytes]:
    """The films that the gate accepts: an answer with probabilities costs the most."""
    connection = Connection(port)
    kept = [film for film in films if await post(connection, film) == 200]
    connection.close()
    return kept


def options(description: str | None) -> argparse.Namespace:
    """The options of a comparison's command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--other", type=Path, metavar="TREE", help="a checkout that is measured too")
    parser.add_argument("--requests", type=int, default=60, help="in a turn")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--clients", type=int, default=8)
    return parser.parse_args()


def compare(subject: str, plan: dict[str, dict[str, str]], folder: Path, parsed: argparse.Namespace) -> None:
    """Start a service for each row (its name -> settings), load them in turns, print the table, stop them.

    A checkout that was named on the command line comes first, with the first row's settings.
    """
    pictures = source(read_bundle(parsed.bundle)).pictures[:16]
    films = [encode("png", picture, seed) for seed, picture in enumerate(pictures)]
    trees = {title: (HERE, settings) for title, settings in plan.items()}
    if parsed.other:
        trees = {"other": (parsed.other, next(iter(plan.values()))), **trees}
    arms: dict[str, Arm] = {}
    with ExitStack() as stack:
        for title, (tree, settings) in trees.items():
            arms[title] = start(tree, parsed.bundle, folder, title, **settings)
            stack.enter_context(arms[title].server)
            films = asyncio.run(accepted(arms[title].port, films))
            asyncio.run(load(arms[title].port, films, 32, parsed.clients))  # warm-up
        for turn in range(parsed.rounds):
            order = list(arms.values())
            random.Random(turn).shuffle(order)
            for arm in order:
                before = arm.server.cpu_seconds()
                arm.rates.append(asyncio.run(load(arm.port, films, parsed.requests, parsed.clients)))
                arm.cpu.append((arm.server.cpu_seconds() - before) / parsed.requests * 1000)
    first = next(iter(arms))
    print(
        f"{len(films)} films, {parsed.clients} clients, {parsed.rounds} rounds of {parsed.requests} requests; medians\n"
    )
    print(f"| {subject} | films/s | CPU ms a film | films/s of {first}'s | CPU of {first}'s |\n|---|---|---|---|---|")
    for title, arm in arms.items():
        pairs = ((arm.rates, arms[first].rates), (arm.cpu, arms[first].cpu))
        ratios = [statistics.median(np.divide(a, b)) for a, b in pairs]
        figures = f"{statistics.median(arm.rates):.1f} | {statistics.median(arm.cpu):.1f}"
        print(f"| {title} | {figures} | {ratios[0]:.3f} | {ratios[1]:.3f} |")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the time of a comparison."""
    (HERE / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE / "build") as folder:
        yield Path(folder)


def main() -> None:
    """Compare the record in memory and on disk."""
    parsed = options(__doc__)
    with scratch() as folder:
        on_disk = {"CXR_RECORD_URL": f"sqlite:///{folder}/record.sqlite", "CXR_RECORD_KEY_FILE": f"{folder}/key"}
        compare("record", {"memory": {"CXR_RECORD_URL": "sqlite://"}, "disk": on_disk}, folder, parsed)


if __name__ == "__main__":
    main()
