"""The service, Prometheus, Alertmanager, and a receiver of messages: only processes and sockets of this machine."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
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
    """Web hooks of Alertmanager: the messages that each receiver got, and when (Unix time)."""

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


@dataclass
class Hospital:
    """The service with its callers' keys, its record and its quarantine, all in a folder of the day.

    Attributes
    ----------
    folder : Path
    bundle : Path
        That is served at first; others are brought in from ``bundles``.
    """

    folder: Path
    bundle: Path
    port: int = 0
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.bundles = self.folder / "bundles"
        self.bundles.mkdir()
        key = self.folder / "quarantine.key"
        key.touch(mode=0o600)
        key.write_bytes(base64.b64encode(secrets.token_bytes(32)) + b"\n")
        self.settings = {
            "CXR_RECORD_URL": f"sqlite:///{self.folder}/record.sqlite",
            "CXR_RECORD_KEY_FILE": f"{self.folder}/record.key",
            "CXR_KEYS_FILE": f"{self.folder}/callers.json",
            "CXR_QUARANTINE_FOLDER": f"{self.folder}/quarantine",
            "CXR_QUARANTINE_KEY_FILE": f"{self.folder}/quarantine.key",
            "CXR_BUNDLES": str(self.bundles),
            "CXR_VERSIONS_FILE": f"{self.folder}/active.json",
        }
        for name, scope in {
            "pacs": "score",
            "prometheus": "metrics",
            "reviewer": "review",
            "operator": "operate",
        }.items():
            self.keys[name] = self.run("new-key", "--name", name, "--scope", scope)

    def run(self, *arguments: str) -> str:
        """Run ``cxr-gate`` to its end; what it printed.

        Raises
        ------
        CalledProcessError
        """
        command = [*COMMAND, *arguments]
        done = subprocess.run(command, env=environment(self.settings), stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    @contextlib.contextmanager
    def open(self) -> Iterator[Hospital]:
        """Serve until the block ends."""
        self.port = free_port()
        command = [*COMMAND, "serve", "--bundle", str(self.bundle), "--port", str(self.port), "--device", "cpu"]
        with running(command, f"{self.url}/readyz", self.folder / "service.log", self.settings):
            yield self

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://127.0.0.1:{self.port}"

    def caller(self, name: str) -> httpx.Client:
        """A client with a caller's key."""
        return httpx.Client(base_url=self.url, timeout=120, headers={"Authorization": f"Bearer {self.keys[name]}"})
