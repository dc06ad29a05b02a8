"""The service in this process behind a real socket, over a device that does as it is told."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from app.http.application import create_application
from app.http.wire.protocol import guarded
from app.settings import Settings
from tests.support.asking import Asked
from tests.support.screeners import ServedToldScreener
from tests.support.waiting import eventually

SECONDS = 30.0


class Told(Asked):
    """A running service and its device."""

    def __init__(self, screener: ServedToldScreener, port: int) -> None:
        super().__init__(port)
        self.screener = screener

    def metric(self, name: str) -> float:
        """A sample of /metrics; `name` with its labels, as it is written there. 0 if it is not there yet."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until(self, name: str, value: float) -> None:
        """Until a metric has this value."""
        eventually(lambda: self.metric(name) == value, SECONDS, lambda: f"{name} is {self.metric(name)}, not {value}")


@contextmanager
def told(bundle: Path, seconds_a_film: float = 0.0, **settings: Any) -> Iterator[Told]:
    """Serve on a free port until the block ends."""
    screener = ServedToldScreener(bundle, seconds_a_film)
    with running(
        create_application([screener], Settings(**{"record_url": "sqlite://", "metrics_open": True, **settings}))
    ) as port:
        service = Told(screener, port)
        try:
            yield service
        finally:
            screener.gate.set()
            service.client.close()


@contextmanager
def running(application: FastAPI, **options: Any) -> Iterator[int]:
    """Serve an application in a thread of this process until the block ends; gives the port. Options are uvicorn's."""
    protocol = guarded(application.state.metrics, application.state.origins)
    own: dict[str, Any] = {"http": protocol, "ws": "none", "server_header": False}
    config = uvicorn.Config(application, port=0, log_config=None, access_log=False, **own, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started or not thread.is_alive(), SECONDS, lambda: "the service did not start")
    assert thread.is_alive()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()
