"""Programs that tests start, wait for, end, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0  # torch is imported anew, perhaps beside a training run


def clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment without the caller's own settings, and with few threads: many servers share the machine.

    Batches are small: a service runs every size once before it is ready.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    usual = {"CXR_RECORD_URL": "sqlite://", "CXR_METRICS_OPEN": "true", "CXR_MAX_BATCH": "2"}
    return {**inherited, "OMP_NUM_THREADS": "2", **usual, **settings}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def run_command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``cxr-gate`` to its end; `settings` are environment variables."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def tool(name: str) -> str:
    """Path of a program of Debian's packages, which CI must have."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        pytest.fail(f"{name} is not installed; scripts/debian-packages.txt lists what the tests need")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A program that can be started, ended or killed, and started again; its output is added to `log`."""

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
        self.arguments = arguments
        self.log = log
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process

    def start(self) -> None:
        self.launch()

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self.arguments,
                cwd=ROOT,
                env=self.environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def await_answer(self, ask: Callable[[], httpx.Response], seconds: float = START_SECONDS) -> None:
        """Wait until a question is answered with 200."""

        def answered() -> bool:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.logged()}"
            with suppress(httpx.TransportError):
                return ask().status_code == 200
            return False

        eventually(answered, seconds, self.logged)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; returns the exit code. What does not end in time is killed, and fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"did not end within {seconds} s of SIGTERM:\n{self.logged()}") from None
        return int(self.process.returncode)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started, and ended with the block."""
        try:
            self.start()
            yield
        finally:
            self.stop()

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""
