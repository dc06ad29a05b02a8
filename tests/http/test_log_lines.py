"""What is logged within a request names it, in whatever thread and by whomever; and quotes nobody's data."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.decoding.decoders import Decoders
from app.http.middleware.observe import Observe
from app.logs import JsonFormatter
from app.metrics import Metrics
from app.pipeline import DecodedImage
from app.pipeline.heatmap import Heatmap
from app.pipeline.image import SourceKind
from app.settings import Settings
from app.tracing import Tracing
from tests.support.films import png
from tests.support.told import told
from tests.support.waiting import eventually

SECRET = "^".join(("Doe", "Jane"))  # put together, since a line of the source may be in the log
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as it is written."""
    written: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(self.format(record)))

    handler = Kept()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def test_the_servers_own_line_on_a_fault_names_the_request(lines: list[dict[str, Any]]) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError(SECRET)

    application = Observe(broken, Metrics(), Tracing())
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=headers).status_code == 500
    finally:
        server.should_exit = True
        thread.join()
    (answered,) = [line for line in lines if line["message"] == "answered"]
    (fault,) = [line for line in lines if "exception" in line]
    assert fault["logger"].startswith("uvicorn")
    for line in (answered, fault):
        assert line["request_id"] == answered["request_id"]
        assert (line["trace_id"], line["span_id"]) == (TRACE, PARENT)
    assert "RuntimeError" in fault["exception"]
    assert fault["exception"].endswith("RuntimeError")
    assert SECRET not in json.dumps(lines)


def test_a_line_of_a_decoders_thread_names_the_request(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Decoders._in_thread

    def noted(self: Decoders, data: bytes, kind: SourceKind | None) -> DecodedImage:
        logging.getLogger("cxr_gate").warning("decoding")
        return decode(self, data, kind)

    monkeypatch.setattr(Decoders, "_in_thread", noted)

    async def request(number: int) -> None:
        Tracing().enter(f"request{number}", [], "POST")
        await decoders.decode(png(number), time.monotonic() + 60)

    async def both() -> None:
        await asyncio.gather(request(1), request(2))

    decoders = Decoders(Settings(), Metrics(), lambda _: None)
    asyncio.run(both())
    decoders.stop()
    noticed = [line for line in lines if line["message"] == "decoding"]
    assert sorted(line["request_id"] for line in noticed) == ["request1", "request2"]
    assert {"trace_id", "span_id"}.isdisjoint(noticed[0])


def test_a_line_of_a_devices_thread_names_the_requests(lines: list[dict[str, Any]], accepting_bundle: Path) -> None:
    def broken() -> Heatmap:
        raise RuntimeError(SECRET)

    with told(accepting_bundle) as service:
        service.screener.heatmap = broken
        path, named = "/v1/explain?finding=Mass", {"Content-Type": "image/png"}
        answer = service.client.post(path, content=png(), headers=named)
    assert answer.status_code == 503
    (line,) = [line for line in lines if line["message"] == "the heatmap beside the verdict failed"]
    assert line["request_ids"] == [answer.headers["x-request-id"]]
    assert SECRET not in json.dumps(lines)


def test_an_exception_in_the_log_says_where_and_not_with_what() -> None:
    number = "-".join(("PID", "31415"))
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise KeyError(number) from error
    except KeyError as error:
        raised = (type(error), error, error.__traceback__)
    line = JsonFormatter().format(logging.makeLogRecord({"msg": "failed", "exc_info": raised}))
    assert SECRET not in line
    assert number not in line
    written = json.loads(line)["exception"]
    assert [word in written for word in ("KeyError", "ValueError", "test_log_lines.py", "int(SECRET)")] == [True] * 4
