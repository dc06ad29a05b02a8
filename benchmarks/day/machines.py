"""The service, Prometheus, Alertmanager, and somebody who is told: processes and sockets of this machine alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.day import compress

READY_SECONDS: Final = 90.0
END_SECONDS: Final = 40.0
COMMAND: Final = (sys.executable, "-m", "app.cli")


class NotStarted(Exception):
    """A program ended, or did not become ready; its log says why."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The shell's environment without its own settings of the service, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return inherited | {"OMP_WAIT_POLICY": "PASSIVE"} | settings


@contextlib.contextmanager
def running(command: list[str], ready: str, log: Path, settings: dict[str, str]) -> Iterator[None]:
    """A program, from when its URL `ready` answers 200 to the end of the block.

    Raises
    ------
    NotStarted
    """
    with log.open("ab") as sink:
        process = subprocess.Popen(command, env=environment(settings), stdout=sink, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + READY_SECONDS
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > end:
                raise NotStarted(f"{command[0]}: see {log}\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Told:
    """Web hooks of Alertmanager: what each receiver was told, and when (Unix time)."""

    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Told]:
        """Take messages until the block ends."""
        messages = self.messages

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver = self.path.strip("/")
                for alert in content["alerts"]:
                    told = {"receiver": receiver, "alert": alert["labels"]["alertname"], "status": alert["status"]}
                    messages.append({"time": time.time(), **told})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the day's own lines are on the terminal."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


@contextlib.contextmanager
def alertmanager(folder: Path, factor: int, told: int) -> Iterator[int]:
    """Alertmanager with the deployed routes; gives its port."""
    port = free_port()
    configuration = compress.write_alertmanager(folder, factor, told)
    command = [
        "prometheus-alertmanager",
        f"--config.file={configuration}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, f"http://127.0.0.1:{port}/-/ready", folder / "alertmanager.log", {}):
        yield port


@contextlib.contextmanager
def prometheus(folder: Path, factor: int, service: int, alerts: int, key: str) -> Iterator[int]:
    """Prometheus with the deployed rules; gives its port."""
    port = free_port()
    configuration = compress.write_prometheus(folder, factor, service, alerts, key)
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--query.lookback-delta={compress.shorter(compress.LOOKBACK, factor)}",
        f"--rules.alert.resend-delay={compress.shorter(compress.RESEND, factor)}",
    ]
    with running(command, f"http://127.0.0.1:{port}/-/ready", folder / "prometheus.log", {}):
        yield port


@contextlib.contextmanager
def service(folder: Path, bundle: Path, settings: dict[str, str]) -> Iterator[int]:
    """The service; gives its port."""
    port = free_port()
    command = [*COMMAND, "serve", "--bundle", str(bundle), "--port", str(port), "--device", "cpu"]
    with running(command, f"http://127.0.0.1:{port}/readyz", folder / "service.log", settings):
        yield port
