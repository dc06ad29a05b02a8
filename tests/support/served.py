"""The service as a subprocess behind a real socket, and what its answers are."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.asking import Asked
from tests.support.processes import START_SECONDS, Process, clean_environment, command, free_port

PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "request_id"}


class Served(Process, Asked):
    """A service on a port that stays the same when it is started again; as ``serve`` starts it, or otherwise."""

    def __init__(self, arguments: list[str], port: int, log: Path, environment: dict[str, str]) -> None:
        Process.__init__(self, arguments, log, environment)
        Asked.__init__(self, port)

    @classmethod
    def of(cls, bundle: Path, log: Path, *options: str, **settings: str) -> Self:
        """One of a bundle on a free port; `settings` are environment variables."""
        port = free_port()
        arguments = command("serve", "--bundle", str(bundle), "--port", str(port), "--device", "cpu", *options)
        return cls(arguments, port, log, clean_environment(settings))

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def await_ready(self, seconds: float = START_SECONDS) -> None:
        self.await_answer(lambda: self.get("/readyz"), seconds)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started, and ended with the block, by which it must be fit to end as it should."""
        with closing(self.client), super().running():
            yield

    def end(self) -> None:
        """End it in whatever state it is, and what it has started."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.kill()
        # A child may be left: under libfaketime a fork can hang before it runs its program, and then ignores SIGTERM.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def memory_kib(self, field: str = "VmRSS") -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        assert found, field
        return int(found[1])


@contextmanager
def serve(bundle: Path, log: Path, *options: str, **settings: str) -> Iterator[Served]:
    """Serve a bundle on a free port until the block ends; `settings` are environment variables."""
    log.unlink(missing_ok=True)
    served = Served.of(bundle, log, *options, **settings)
    try:
        served.start()
        yield served
    finally:
        served.end()


def request_head(length: int | None, content_type: str = "image/png") -> bytes:
    """The head of a POST, for tests that write to the socket themselves; None is for a chunked body."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n").encode()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body."""
    response = http.client.HTTPResponse(connection, method="POST")
    try:
        response.begin()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        response.close()


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The answer is a whole problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == PROBLEM_FIELDS
    assert body["status"] == status
    assert re.fullmatch(r"/problems/[a-z-]+", body["type"])
    assert body["title"]
    assert len(body["detail"]) > 10
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["instance"].endswith(body["request_id"])
    return body


def assert_accepted(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()
