"""``python -m benchmarks.soak``: load for minutes, or for a number of requests; ends with 1 if anything grew or failed.

Every answer's status is checked. The load has damaged films too, and films that are decoded in processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from app.pipeline import read_bundle
from benchmarks.client import Connection, Lost
from benchmarks.films import computed_radiograph, encode, enlarge, source, undecodable
from benchmarks.processes import Server, proportional_megabytes, tree

from .slope import trend

CLIENTS = 4
#: Shares of the median by which the fitted line may grow over what is judged. Of p99, chance alone moves a tenth.
MEMORY_GROWTH, P99_GROWTH = 0.03, 0.25
SAMPLES = 60
START_SECONDS = 120.0
SMALL_SIDE = 224


@dataclass(frozen=True)
class RepeatedFilm:
    """A posted film, and the status of its first answer, which all other answers must have too."""

    body: bytes
    media_type: str
    statuses: list[int] = field(default_factory=list)


def films_of(bundle: Path, small: bool) -> list[RepeatedFilm]:
    """PNG, JPEG, uncompressed and JPEG 2000 DICOM, and of each one that is damaged.

    JPEG 2000 is decoded in processes of its own, which takes most of the time of small films: they have less of it.
    """
    pictures = source(read_bundle(bundle)).pictures
    made = []
    for number in range(4):
        for mix in ("png", "jpeg", "dicom", "j2k") if number == 0 or not small else ("png", "jpeg", "dicom"):
            body = small_film(mix, pictures[number], number) if small else encode(mix, pictures[number], number)
            media_type = f"image/{mix}" if mix in ("png", "jpeg") else "application/dicom"
            made.append(RepeatedFilm(body, media_type))
            if number == 0:
                made.append(RepeatedFilm(undecodable(body, 0), media_type))
    return made


def small_film(mix: str, picture: np.ndarray, seed: int) -> bytes:
    """Of 256 x 256 pixels, soon decoded."""
    grey = enlarge(picture, SMALL_SIDE, SMALL_SIDE, seed)
    if mix in ("dicom", "j2k"):
        return computed_radiograph(np.rint(grey * 32767).astype(np.uint16), mix == "j2k", seed)
    stream = io.BytesIO()
    Image.fromarray(np.rint(grey * 255).astype(np.uint8)).save(stream, mix.upper())
    return stream.getvalue()


@dataclass
class Soak:
    """The load of one run, and its results."""

    port: int
    films: list[RepeatedFilm]
    over: bool = False
    turn: int = 0
    answered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    window: list[float] = field(default_factory=list)

    async def client(self) -> None:
        """Post one film after the other."""
        connection = Connection(self.port)
        while not self.over:
            film = self.films[self.turn % len(self.films)]
            self.turn += 1
            head = (
                f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {film.media_type}\r\n"
                f"Content-Length: {len(film.body)}\r\n\r\n"
            )
            began = time.perf_counter()
            try:
                answer = await connection.post(head.encode(), film.body)
            except Lost as lost:
                self.wrong[f"lost: {lost}"] += 1
                await asyncio.sleep(0.1)
                continue
            self.window.append(time.perf_counter() - began)
            self.answered += 1
            self.statuses[answer.status] += 1
            film.statuses[:] = film.statuses or [answer.status]
            if answer.status != film.statuses[0] or answer.status not in {200, 400, 415, 422}:
                self.wrong[f"{answer.status} where {film.statuses[0]} was answered before"] += 1
        connection.close()

    async def run(self, pid: int, seconds: float | None, requests: int) -> list[dict[str, float]]:
        """Until the time is over or the number is reached; gives the samples."""
        clients = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
        began, samples = time.monotonic(), list[dict[str, float]]()
        while not self.over:
            due = len(samples) + 1
            while self._progress(began, seconds, requests) < due / SAMPLES:
                await asyncio.sleep(0.1)
            window, self.window = self.window, []
            samples.append(
                {
                    "seconds": round(time.monotonic() - began, 1),
                    "requests": self.answered,
                    "megabytes": round(sum(proportional_megabytes(each) for each, _ in tree(pid)), 1),
                    "server_megabytes": round(proportional_megabytes(pid), 1),
                    "p50_ms": round(float(np.quantile(window, 0.5)) * 1000, 1),
                    "p99_ms": round(float(np.quantile(window, 0.99)) * 1000, 1),
                }
            )
            print(json.dumps(samples[-1]), flush=True)
            self.over = due >= SAMPLES
        await asyncio.gather(*clients)
        return samples

    def _progress(self, began: float, seconds: float | None, requests: int) -> float:
        return (time.monotonic() - began) / seconds if seconds else self.answered / requests


def main() -> int:
    """Run, judge, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, default=0, help="so many instead, with a network that costs nothing")
    parser.add_argument("--output", type=Path, required=True, help="JSON")
    given = parser.parse_args()
    small = given.requests > 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        kept = {
            "CXR_RECORD_URL": f"sqlite:///{folder}/record.sqlite",
            "CXR_RECORD_KEY_FILE": f"{folder}/record.key",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
        serve = ["app.cli", "serve", "--bundle", str(given.bundle), "--port", str(port)]
        command = ["benchmarks.soak.small", str(port), str(given.bundle)] if small else serve
        soak = Soak(port, films_of(given.bundle, small))
        with Server([sys.executable, "-m", *command], {**inherited, **kept}, Path(folder) / "log") as server:
            await_ready(port)
            samples = asyncio.run(soak.run(server.pid, None if small else given.minutes * 60, given.requests))
    over = [each["requests"] if small else each["seconds"] for each in samples]
    memory, p99 = (trend(over, [each[name] for each in samples]) for name in ("megabytes", "p99_ms"))
    faults = [f"{count} answers: {what}" for what, count in soak.wrong.items()]
    faults += [] if memory.flat(MEMORY_GROWTH) else [f"memory grows by {memory.growth:.1%}"]
    faults += [] if p99.flat(P99_GROWTH) else [f"p99 grows by {p99.growth:.1%}"]
    report = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": "none: features are the picture at 32x32" if small else "the bundle's",
        "slopes_per": "request" if small else "second",
        "clients": CLIENTS,
        "requests": soak.answered,
        "statuses": {str(status): count for status, count in sorted(soak.statuses.items())},
        "memory_megabytes": memory.as_json(),
        "p99_ms": p99.as_json(),
        "faults": faults,
        "samples": samples,
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(report, indent=1) + "\n")
    print(*faults or ["memory and p99 are flat, and every answer was as the first of its film"], sep="\n")
    return 1 if faults else 0


def await_ready(port: int) -> None:
    """Until the service is.

    Raises
    ------
    TimeoutError
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError("the service did not become ready")


if __name__ == "__main__":
    raise SystemExit(main())
