"""What traces cost: the same service without and with a collector, in turns, as Markdown.

    python -m benchmarks.traces [--other TREE]

As benchmarks.record: ratios are taken within a round, and CPU time stands beside. The collector takes every span and forgets it,
in this process. `--other` adds a checkout of the code that knows no traces.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from app.pipeline import read_bundle

from .films import encode, source
from .record import Arm, accepted, load, start


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is exported."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the library's name
        """Read it, and say that it was taken."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Start the services, load them in turns, print the table, stop them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--other", type=Path, metavar="TREE", help="a checkout that is measured too")
    parser.add_argument("--requests", type=int, default=60, help="in a turn")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--clients", type=int, default=8)
    parsed = parser.parse_args()
    pictures = source(read_bundle(parsed.bundle)).pictures[:16]
    films = [encode("png", picture, seed) for seed, picture in enumerate(pictures)]
    here = Path(__file__).resolve().parents[1]
    (here / "build").mkdir(exist_ok=True)
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    in_memory = {"CXR_RECORD_URL": "sqlite://"}
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"}
    plan = {"off": (here, in_memory), "on": (here, in_memory | traced)}
    if parsed.other:
        plan = {"other": (parsed.other, in_memory), **plan}
    with tempfile.TemporaryDirectory(dir=here / "build") as folder, ExitStack() as stack:
        arms: dict[str, Arm] = {}
        for title, (tree, settings) in plan.items():
            arms[title] = start(tree, parsed.bundle, Path(folder), title, **settings)
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
    collector.shutdown()
    first = next(iter(arms))
    print(
        f"{len(films)} films, {parsed.clients} clients, {parsed.rounds} rounds of {parsed.requests} requests; medians\n"
    )
    print(f"| traces | films/s | CPU ms a film | films/s of {first}'s | CPU of {first}'s |\n|---|---|---|---|---|")
    for title, arm in arms.items():
        pairs = ((arm.rates, arms[first].rates), (arm.cpu, arms[first].cpu))
        ratios = [statistics.median(np.divide(a, b)) for a, b in pairs]
        figures = f"{statistics.median(arm.rates):.1f} | {statistics.median(arm.cpu):.1f}"
        print(f"| {title} | {figures} | {ratios[0]:.3f} | {ratios[1]:.3f} |")


if __name__ == "__main__":
    main()
