"""Callers who do not read what they asked for, on raw sockets: they are cut off, and whoever is merely slow is not."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.types import Receive, Scope, Send

from app.http.wire import protocol
from app.http.wire.origins import Origins
from app.metrics import Metrics
from tests.http.test_hostile_http import LAST, all_of, statuses
from tests.support.told import SECONDS, Told, running, told
from tests.support.waiting import eventually

LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
CUT = 'cxr_connections_cut_total{reason="unread"}'


@pytest.fixture(scope="module")
def service(accepting_bundle: Path) -> Iterator[Told]:
    with told(accepting_bundle) as service:
        yield service


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "READ_BYTES_A_SECOND", 1_000_000_000)


def connect(port: int) -> socket.socket:
    """A connection that takes some kilobytes unread."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(SECONDS)
    connection.connect(("127.0.0.1", port))
    return connection


def test_who_asks_and_asks_and_reads_nothing_is_cut_off(service: Told, caplog: pytest.LogCaptureFixture) -> None:
    asked, before = 1000, service.metric(CUT)
    with connect(service.port) as connection:
        connection.sendall(LARGE * asked)
        service.until(CUT, before + 1)
        assert len(statuses(all_of(connection))) < asked
    service.metric(CUT)  # in the loop's turns until then, the request that was answered has ended
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_who_reads_slowly_gets_all(service: Told) -> None:
    """Slower in all than the limit, but not with any piece."""
    asked, before, received = 100, service.metric(CUT), bytearray()
    started = time.monotonic()
    with connect(service.port) as connection:
        connection.sendall(LARGE * asked + LAST)
        paused = 0
        while more := connection.recv(65_536):
            received += more
            if len(received) - paused > 200_000:  # about an answer
                time.sleep(0.04)
                paused = len(received)
    assert statuses(bytes(received)) == [200] * (asked + 1)
    assert time.monotonic() - started > 2 * protocol.READ_SECONDS
    assert service.metric(CUT) == before


class Tail:
    """Answers until the network takes no more, and closes: too little is left for the server to have waited with it."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(metrics=Metrics(), origins=Origins())
        self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = send.__self__.transport  # type: ignore[attr-defined]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        while not (left := transport.get_write_buffer_size()):
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            await asyncio.sleep(0.001)
        self.left = left
        await send({"type": "http.response.body"})


def test_the_end_of_an_answer_that_nobody_reads_is_not_kept() -> None:
    tail = Tail()
    with (
        running(tail, lifespan="off", proxy_headers=False) as port,  # type: ignore[arg-type]
        connect(port) as connection,
    ):
        connection.sendall(LAST)
        cut = ("cxr_connections_cut_total", {"reason": "unread"})
        eventually(lambda: tail.state.metrics.registry.get_sample_value(*cut), SECONDS, lambda: "it is kept")
        assert not all_of(connection).endswith(b"0\r\n\r\n")
    assert 0 < tail.left < 65_536
