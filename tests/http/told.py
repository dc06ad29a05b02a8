"""The service in this process behind a real socket, over a device that does as it is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from torch import Tensor

from app.http.application import create_application
from app.http.wire.protocol import guarded
from app.pipeline import LABELS, Screener, Verdict, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.pipeline.errors import BundleError
from app.pipeline.heatmap import Heatmap
from app.settings import Settings
from tests.marked import marks as marks_of

SECONDS = 30.0


class ToldScreener(Screener):
    """Gives each film the probability that is its mark, at its own pace; may be held, and broken."""

    def __init__(self, bundle: Path, seconds_a_film: float = 0.0) -> None:
        served = read_bundle(bundle)
        super().__init__(served, TorchCpu(served.network))
        self.seconds_a_film = seconds_a_film
        self.broken = False
        self.poison: int | None = None
        self.judged: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def require_golden(self) -> None:
        if self.broken:
            raise BundleError("no such device")

    def screen(self, images: Tensor) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(SECONDS)
        time.sleep(self.seconds_a_film * len(images))
        marks = marks_of(images)
        if self.broken or self.poison in marks:
            raise RuntimeError("CUDA error")
        self.judged += marks
        return [Verdict(True, float(mark), np.full(len(LABELS), mark / 255)) for mark in marks]

    def explain(self, image: Tensor, finding: int) -> Heatmap:
        return Heatmap(np.zeros((7, 7), np.float32), None)


class Told:
    """A running service and its device."""

    def __init__(self, screener: ToldScreener, port: int) -> None:
        self.screener = screener
        self.port = port
        # A connection is not used again once the service may be about to close it, as it does after 5 s.
        limits = httpx.Limits(keepalive_expiry=2.0)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, limits=limits)

    def metric(self, name: str) -> float:
        """A sample of /metrics; `name` with its labels, as it is written there. 0 if it is not there yet."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until(self, name: str, value: float) -> None:
        """Until a metric has this value."""
        end = time.monotonic() + SECONDS
        while (now := self.metric(name)) != value:
            assert time.monotonic() < end, f"{name} is {now}, not {value}"
            time.sleep(0.01)


@contextmanager
def told(bundle: Path, seconds_a_film: float = 0.0, **settings: Any) -> Iterator[Told]:
    """Serve on a free port until the block ends."""
    screener = ToldScreener(bundle, seconds_a_film)
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
    end = time.monotonic() + SECONDS
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < end, "the service did not start"
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()
