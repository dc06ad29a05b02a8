"""Ours beside its peers, in one run: ``python -m benchmarks.serving`` (``make bench``). Loopback only, and it stops by itself."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import environments, plan, report
from benchmarks.answers import BenchFilm, ExpectedAnswer, outcome, request
from benchmarks.plan import PlannedLoad
from benchmarks.processes import Server
from benchmarks.summary import summary
from benchmarks.systems import System, ours, peers

FOLDER = environments.FOLDER
REQUEST_SECONDS = 60.0
START_LIMIT_SECONDS = 120.0
LATENCY_ROUNDS, LATENCY_FILMS = 5, 12
PACKAGES = ("torch", "openvino", "fastapi", "uvicorn", "numpy", "pydicom", "imagecodecs")


class DidNotStart(Exception):
    """A server gave no right answer in time; the message is the end of its log."""


class ProgressBar:
    """A bar with the time left, from the planned seconds and the real time of those that are done."""

    def __init__(self, planned: float) -> None:
        self._planned, self._done, self._began = planned, 0.0, time.monotonic()

    def step(self, planned: float, said: str) -> None:
        """Count so many planned seconds as done."""
        self._done = min(self._planned, self._done + planned)
        share = self._done / self._planned
        left = (time.monotonic() - self._began) / share * (1 - share) if share > 0.02 else self._planned
        bar = "#" * int(24 * share)
        line = f"[{bar:<24}] {int(left) // 60:2d}:{int(left) % 60:02d} left  {said}"
        print(f"\r{line:<110.110}", end="\n" if not sys.stderr.isatty() else "", file=sys.stderr, flush=True)


class Bench:
    """One run: films and golden answers, and the results so far."""

    def __init__(self, bundle: Path, prepared: dict[str, Any], progress: ProgressBar) -> None:
        self.bundle = bundle
        self.prepared = prepared
        self.progress = progress
        self.cells: list[dict[str, Any]] = []
        self.skipped: dict[str, str] = {}
        self.seed = 0

    def visit(self, system: System, cells: tuple[PlannedLoad, ...], extra: Callable[[int], None] | None = None) -> None:
        """Start a system, warm it up, run the cells, stop it; one that does not start is left out from then on."""
        self.progress.step(0, f"{system.name}: starts")
        port = _free_port()
        command, environment = system.started(port, self.bundle)
        log = FOLDER / f"{system.name.replace(' ', '-').replace(',', '').lower()}.log"
        try:
            with Server(command, environment, log) as server:
                self._await_ready(system, server, port, log)
                self._load(system, port, plan.WARM_UP)
                self.progress.step(plan.START_SECONDS + plan.WARM_UP.seconds, system.name)
                for cell in cells:
                    self._measure(system, server, port, cell)
                    self.progress.step(cell.seconds, f"{system.name}: {cell.name}")
                if extra:
                    extra(port)
        except DidNotStart as error:
            self.skipped[system.name] = str(error)
            print(f"\n{system.name} is left out: {error}", file=sys.stderr)

    def _await_ready(self, system: System, server: Server, port: int, log: Path) -> None:
        entry = self.prepared["mixes"]["png"][0]
        film = BenchFilm(Path(entry["file"]).read_bytes(), entry["media_type"], ExpectedAnswer(**entry["golden"]))
        head, body = request(system.protocol, system.path, film)
        headers = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n")[1:])
        deadline = time.monotonic() + START_LIMIT_SECONDS
        said = "no answer"
        while server.alive and time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("POST", system.path, body, headers)
                answer = connection.getresponse()
                said = outcome(system.protocol, film, answer.status, answer.read())
                connection.close()
                if said == "correct":
                    return
            time.sleep(0.25)
        lines = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise DidNotStart(f"does not start ({said}): {' / '.join(lines)}"[:400])

    def _load(self, system: System, port: int, cell: PlannedLoad, rate: float = 0.0) -> dict[str, Any]:
        self.seed += 1
        load = {
            "port": port,
            "path": system.path,
            "protocol": system.protocol,
            "films": self.prepared["mixes"][cell.mix],
            "broken": self.prepared["broken"],
            "clients": cell.clients,
            "rate": rate,
            "seconds": cell.seconds,
            "hostile": cell.hostile,
            "timeout": REQUEST_SECONDS,
            "seed": self.seed,
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.generator"],
            input=json.dumps(load).encode(),
            stdout=subprocess.PIPE,
            check=True,
            timeout=cell.seconds + 2 * REQUEST_SECONDS,
        )
        return json.loads(done.stdout)

    def _measure(self, system: System, server: Server, port: int, cell: PlannedLoad) -> None:
        rate = cell.share * self.peak(system.name)
        if cell.share and not rate:
            return
        server.take_peak_megabytes()
        before = server.cpu_seconds()
        came = self._load(system, port, cell, rate)
        cpu = server.cpu_seconds() - before
        self.cells.append(
            summary(system.name, cell, rate, came) | {"cpu_seconds": cpu, "megabytes": server.take_peak_megabytes()}
        )

    def peak(self, name: str) -> float:
        """The best closed loop of PNG films so far, in correct answers a second."""
        rates = [
            cell["rate"] for cell in self.cells if cell["system"] == name and cell["clients"] and cell["mix"] == "png"
        ]
        return max(rates, default=0.0)

    def added_latency(self, system: System) -> Callable[[int], None]:
        """A round by HTTP, a round in one process, in turns; one client."""
        entry = self.prepared["mixes"]["png"][0]

        def run(port: int) -> None:
            command = [sys.executable, "-m", "benchmarks.reference", "latency", str(self.bundle), entry["file"]]
            _, environment = system.started(port, self.bundle)
            served: list[float] = []
            alone: list[float] = []
            with subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdin
                assert process.stdout
                alone_at_8 = json.loads(process.stdout.readline())
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                body, headers = Path(entry["file"]).read_bytes(), {"Content-Type": entry["media_type"]}
                before = stage_seconds(port)
                for _ in range(LATENCY_ROUNDS):
                    process.stdin.write(f"{LATENCY_FILMS}\n")
                    process.stdin.flush()
                    alone += json.loads(process.stdout.readline())
                    for _ in range(LATENCY_FILMS):
                        started = time.perf_counter()
                        connection.request("POST", system.path, body, headers)
                        connection.getresponse().read()
                        served.append(time.perf_counter() - started)
                after = stage_seconds(port)
                connection.close()
                process.stdin.close()
            self.prepared.setdefault("latency", {})[system.name] = {
                "served_ms": 1000 * statistics.median(served),
                "in_process_ms": 1000 * statistics.median(alone),
                "batch_8_ms": 1000 * alone_at_8["batch"],
                "film_cpu_ms": 1000 * alone_at_8["film_cpu"],
                "stages_ms": {stage: 1000 * (after[stage] - before.get(stage, 0)) / len(served) for stage in after},
                "n": len(served),
            }

        return run


def stage_seconds(port: int) -> dict[str, float]:
    """Seconds that the stages of our service took so far, from its metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "cxr_stage_seconds_sum"
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prepare(bundle: Path, films: int) -> dict[str, Any]:
    folder = FOLDER / "films"
    command = [sys.executable, "-m", "benchmarks.reference", "prepare", str(bundle), str(folder), str(films)]
    subprocess.run(command, check=True)
    return json.loads((folder / "films.json").read_text())


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES if find_spec(name)},
    }


def _planned_seconds(systems: list[System], visits: list[tuple[PlannedLoad, ...]], mine: int, quick: bool) -> float:
    one = sum(plan.START_SECONDS + plan.WARM_UP.seconds + sum(cell.seconds for cell in visit) for visit in visits)
    extra = 0.0 if quick else plan.START_SECONDS + sum(cell.seconds for cell in plan.OVERLOAD)
    return one * len(systems) + extra * mine


def main() -> int:
    """Prepare, measure in turns, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = [system.name for system in peers()]
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--quick", action="store_true", help="one short visit to each: some minutes, rough numbers")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[c.name for c in plan.CELLS], metavar="CELL", help="loads"
    )
    parser.add_argument("--peers", nargs="*", default=names, choices=names, metavar="NAME", help="none: ours alone")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of table, JSON and plots")
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server under way is ended too
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    mine, others, skipped = ours(), [], {}
    for system in peers():
        if system.name in parsed.peers:
            print(f"environment of {system.name}", file=sys.stderr, flush=True)
            reason = environments.prepare(system.peer)
            if reason:
                skipped[system.name] = reason
                print(f"{system.name} is left out: {reason}", file=sys.stderr)
            else:
                others.append(system)
    print("films, golden answers, floors", file=sys.stderr, flush=True)
    prepared = _prepare(parsed.bundle, 4 if parsed.quick else 16)
    systems, visits = mine + others, plan.visits(parsed.only, parsed.quick)
    bench = Bench(parsed.bundle, prepared, ProgressBar(_planned_seconds(systems, visits, len(mine), parsed.quick)))
    bench.skipped = skipped
    for turn, cells in enumerate(visits):
        for at in range(len(systems)):
            system = systems[(at + turn * 3) % len(systems)]  # not always the same one first, or after the same one
            if system.name in bench.skipped:
                continue
            last = turn == len(visits) - 1 and system in mine and not parsed.only
            bench.visit(system, cells, bench.added_latency(system) if last else None)
    if not (parsed.only or parsed.quick):
        deadline = {"CXR_DEADLINE_SECONDS": str(plan.OVERLOAD_DEADLINE_SECONDS)}
        for system in mine:
            bench.visit(replace(system, variables=system.variables | deadline), plan.OVERLOAD)
    result = {
        "machine": _machine(),
        "minutes": (time.monotonic() - began) / 60,
        "quick": parsed.quick,
        "systems": {s.name: environments.version(s.peer) if s.peer else prepared["model_version"] for s in systems},
        "ours": [system.name for system in mine],
        "skipped": bench.skipped,
        "films": prepared["source"],
        "bytes": {mix: statistics.median(e["bytes"] for e in entries) for mix, entries in prepared["mixes"].items()},
        "floors": prepared["floors"],
        "latency": prepared.get("latency", {}),
        "cells": bench.cells,
    }
    parsed.output.mkdir(parents=True, exist_ok=True)
    (parsed.output / "serving.json").write_text(json.dumps(result, indent=1) + "\n")
    report.write(result, parsed.output)
    print(f"\n{parsed.output}/serving.md", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
