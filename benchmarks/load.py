"""Closed-loop load on a service of its own: requests a second, latency, memory. Loopback only, bounded, stops by itself."""

from __future__ import annotations

import argparse
import asyncio
import io
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from PIL import Image


def film(side: int) -> bytes:
    """A PNG with the entropy of a film, roughly: smooth shapes and grain."""
    generator = np.random.default_rng(0)
    line = np.linspace(-1, 1, side)
    shape = 120 + 80 * np.cos(2.5 * line)[:, None] * np.cos(4 * line)[None, :]
    grey = np.clip(shape + generator.normal(0, 3, (side, side)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, format="PNG")
    return stream.getvalue()


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


async def load(url: str, data: bytes, requests: int, clients: int) -> tuple[list[float], Counter[int]]:
    """Post `requests` films from `clients` clients, each waiting for its answer; seconds of each, and statuses."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    left = iter(range(requests))

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as session:
            for _ in left:
                started = time.perf_counter()
                answer = await session.post("/v1/score", content=data, headers={"Content-Type": "image/png"})
                seconds.append(time.perf_counter() - started)
                statuses[answer.status_code] += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, statuses


def main() -> int:
    """Start the service, load it, print a table, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="artifacts/default")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 20])
    parser.add_argument("--side", type=int, default=1024, help="of the PNG")
    parsed = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "serve", "--bundle", parsed.bundle, "--port", str(port)]
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.25)
        else:
            print("the service did not become ready", file=sys.stderr)
            return 1
        data = film(parsed.side)
        asyncio.run(load(url, data, 40, 8))  # warm-up
        print("| clients | requests | statuses | requests/s | p50 ms | p99 ms | MB before | MB after |")
        print("|---|---|---|---|---|---|---|---|")
        for clients in parsed.clients:
            before = resident_megabytes(service.pid)
            started = time.perf_counter()
            seconds, statuses = asyncio.run(load(url, data, parsed.requests, clients))
            rate = len(seconds) / (time.perf_counter() - started)
            p99 = statistics.quantiles(seconds, n=100)[98]
            print(
                f"| {clients} | {len(seconds)} | {dict(statuses)} | {rate:.1f} | {statistics.median(seconds) * 1000:.0f} | "
                f"{p99 * 1000:.0f} | {before:.0f} | {resident_megabytes(service.pid):.0f} |",
                flush=True,
            )
    finally:
        service.terminate()
        service.wait(timeout=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
