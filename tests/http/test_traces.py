"""One trace from the caller through the service to the DICOMweb server, as a real collector gets it; and none of it needed."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from app.logs import JsonFormatter
from tests.http.conftest import Start
from tests.http.served import ANSWER_SECONDS, Served, png
from tests.http.stowing import post, related
from tests.results.films import film

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra otel is not installed"
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "hospital=t61rcWkgMzE"}


@dataclass
class Span:
    name: str
    trace_id: str
    span_id: str
    parent: str
    kind: int
    attributes: dict[str, Any]
    links: list[str]  # span ids
    seconds: float


@dataclass
class Listener:
    """What a server was asked: (method, headers, body)."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def spans(self) -> list[Span]:
        return [
            Span(
                each.name,
                each.trace_id.hex(),
                each.span_id.hex(),
                each.parent_span_id.hex(),
                each.kind,
                {pair.key: pair.value.string_value or pair.value.int_value for pair in each.attributes},
                [link.span_id.hex() for link in each.links],
                (each.end_time_unix_nano - each.start_time_unix_nano) / 1e9,
            )
            for _, _, body in list(self.asked)
            for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for each in scope.spans
        ]


@contextmanager
def listening(respond: Callable[[bytes], tuple[int, bytes]]) -> Iterator[Listener]:
    """A server on a free port that writes down what it is asked."""
    made = Listener()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            made.asked.append((self.command, {k.lower(): v for k, v in self.headers.items()}, body))
            status, content = respond(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815  # the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def stored(body: bytes) -> tuple[int, bytes]:
    """As a DICOMweb server: nothing is there, and what is posted is stored."""
    if not body:
        return 204, b""
    report = dcmread(io.BytesIO(body[body.index(b"\r\n\r\n") + 4 :]), stop_before_pixels=True, force=False)
    content = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [report.SOPInstanceUID]}}]}}
    return 200, json.dumps(content).encode()


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + ANSWER_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def collected(url: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


@dataclass(frozen=True)
class Observed:
    service: Served
    collector: Listener
    receiver: Listener


@pytest.fixture(scope="module")
def observed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = str(tmp_path_factory.mktemp("results"))
    with listening(lambda _: (200, b"")) as collector, listening(stored) as receiver:
        settings = {"CXR_RESULTS_URL": receiver.url, "CXR_RESULTS_FOLDER": folder, **collected(collector.url)}
        with start(**settings) as service:
            yield Observed(service, collector, receiver)


def of_trace(listener: Listener, trace_id: str, name: str) -> list[Span]:
    return [each for each in listener.spans() if (each.trace_id, each.name) == (trace_id, name)]


def test_one_trace_from_the_caller_to_the_dicomweb_server(observed: Observed) -> None:
    service, collector, receiver = observed.service, observed.collector, observed.receiver
    answer = service.post(film(11), "application/dicom", **SENT)
    assert answer.status_code == 200
    eventually(lambda: any(method == "POST" for method, *_ in receiver.asked))
    eventually(
        lambda: bool(of_trace(collector, TRACE, "deliver")) and bool(of_trace(collector, TRACE, "POST /v1/score"))
    )

    (server,) = of_trace(collector, TRACE, "POST /v1/score")
    assert (server.parent, server.kind) == (PARENT, 2)
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/score",
        "http.response.status_code": 200,
        "url.path": "/v1/score",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "cxr.request_id": answer.json()["request_id"],
    }
    for name in ("read", "decode", "wait", "inference", "record", "report", "deliver"):
        (stage,) = of_trace(collector, TRACE, name)
        assert stage.parent in {server.span_id, *(each.span_id for each in of_trace(collector, TRACE, "report"))}, name
        assert 0 <= stage.seconds < ANSWER_SECONDS
    (inference,) = of_trace(collector, TRACE, "inference")
    (batch,) = [each for each in collector.spans() if each.name == "batch" and each.span_id in inference.links]
    assert server.span_id in batch.links
    assert batch.attributes["cxr.batch.size"] == 1
    assert batch.trace_id != TRACE

    (deliver,) = of_trace(collector, TRACE, "deliver")
    assert {headers["traceparent"] for _, headers, _ in receiver.asked} == {f"00-{TRACE}-{deliver.span_id}-01"}
    assert {headers["tracestate"] for _, headers, _ in receiver.asked} == {SENT["tracestate"]}

    (line,) = [each for each in map(json.loads, service.logged().splitlines()) if each.get("trace_id") == TRACE]
    assert (line["message"], line["span_id"]) == ("answered", server.span_id)
    assert line["request_id"] == answer.json()["request_id"]


def test_a_batch_is_linked_with_every_request_in_it(observed: Observed) -> None:
    """While the first films are judged the others gather, so there is a batch of several among so many at once."""
    traces = [f"{number:032x}" for number in range(0xA00, 0xA18)]
    with ThreadPoolExecutor(len(traces)) as pool:
        sent = [
            pool.submit(observed.service.post, png(n), traceparent=f"00-{trace}-{PARENT}-01")
            for n, trace in enumerate(traces)
        ]
        assert {each.result().status_code for each in sent} == {200}
    eventually(lambda: all(of_trace(observed.collector, trace, "POST /v1/score") for trace in traces))
    servers = {of_trace(observed.collector, trace, "POST /v1/score")[0].span_id for trace in traces}
    batches = [each for each in observed.collector.spans() if each.name == "batch" and servers.intersection(each.links)]
    assert sorted(span for batch in batches for span in batch.links if span in servers) == sorted(servers)
    assert all(batch.attributes["cxr.batch.size"] == len(batch.links) for batch in batches)
    assert max(len(batch.links) for batch in batches) > 1


def test_no_patient_no_path_and_no_score_is_in_a_span_or_a_log_line(observed: Observed) -> None:
    service = observed.service
    named = film(12, PatientName="Doe^Jane", PatientID="PID-31415", AccessionNumber="ACC-27182")
    study = str(dcmread(io.BytesIO(named)).StudyInstanceUID)
    sent = post(service, related([named]), f"/dicomweb/studies/{study}", traceparent=f"00-{'b' * 32}-{PARENT}-01")
    assert sent.status_code == 200
    lost = {"traceparent": f"00-{'c' * 32}-{PARENT}-01"}
    assert service.client.get("/patients/PID-31415", headers=lost).status_code == 404
    assert (
        service.client.request("DOE", "/v1/score", headers={"traceparent": f"00-{'d' * 32}-{PARENT}-01"}).status_code
        == 405
    )
    eventually(lambda: bool(of_trace(observed.collector, "b" * 32, "POST /dicomweb/studies/{study}")))
    eventually(lambda: {"c" * 32, "d" * 32} <= {each.trace_id for each in observed.collector.spans()})
    (server,) = of_trace(observed.collector, "b" * 32, "POST /dicomweb/studies/{study}")
    assert server.attributes["url.path"] == "/dicomweb/studies/{study}"
    (other,) = [each for each in observed.collector.spans() if each.trace_id == "d" * 32]
    assert other.attributes["http.request.method"] == "_OTHER"
    exported = b"".join(body for _, _, body in observed.collector.asked)
    assert len(exported) > 1000
    for secret in ("Doe", "Jane", "PID-31415", "ACC-27182", study, "log_density", "probabilit"):
        assert secret.encode() not in exported, secret
        assert secret not in service.logged(), secret
    allowed = {
        "cxr.request_id",
        "cxr.batch.size",
        "cxr.model_version",
        "error.type",
        "http.request.method",
        "http.route",
    }
    allowed |= {"http.response.status_code", "url.path", "url.scheme", "network.protocol.version"}
    assert {name for each in observed.collector.spans() for name in each.attributes} <= allowed


@pytest.mark.parametrize(
    "sent",
    [
        {"traceparent": f"00-{'0' * 32}-{PARENT}-01"},
        {"traceparent": f"00-{TRACE[:-1]}e-{'0' * 16}-01"},
        {"traceparent": f"ff-{TRACE[:-1]}e-{PARENT}-01"},
        {"traceparent": f"00-{TRACE[:-1]}e-{PARENT}-01-more"},
        {"traceparent": f"00-{TRACE[:-1]}E-{PARENT}-01"},
        {"traceparent": "x" * 4000},
        {"tracestate": "without=parent"},
    ],
    ids=["no trace", "no parent", "version ff", "surplus", "capital", "long", "state alone"],
)
def test_a_traceparent_that_is_none_begins_a_trace(observed: Observed, sent: dict[str, str]) -> None:
    answer = observed.service.post(png(), **sent)
    request_id = answer.json()["request_id"]
    eventually(lambda: any(each.attributes.get("cxr.request_id") == request_id for each in observed.collector.spans()))
    (server,) = [each for each in observed.collector.spans() if each.attributes.get("cxr.request_id") == request_id]
    assert server.parent == ""
    assert server.trace_id != f"{TRACE[:-1]}e"


def test_what_the_caller_does_not_sample_is_passed_on_and_not_exported(observed: Observed) -> None:
    trace = "e" * 32
    assert (
        observed.service.post(film(13), "application/dicom", traceparent=f"00-{trace}-{PARENT}-00").status_code == 200
    )
    passed = lambda: [h["traceparent"] for _, h, _ in observed.receiver.asked if trace in h.get("traceparent", "")]  # noqa: E731
    eventually(lambda: len(passed()) == 2)
    assert all(each.endswith("-00") for each in passed())
    assert observed.service.post(png(), traceparent=f"00-{'f' * 32}-{PARENT}-01").status_code == 200
    eventually(lambda: bool(of_trace(observed.collector, "f" * 32, "POST /v1/score")))
    assert not [each for each in observed.collector.spans() if each.trace_id == trace]


@pytest.mark.parametrize("installed", [True, False], ids=["off", "not installed"])
def test_without_traces_the_callers_is_passed_on_as_it_came(start: Start, tmp_path: Path, installed: bool) -> None:
    settings = {}
    if not installed:
        (tmp_path / "hidden" / "opentelemetry").mkdir(parents=True)
        (tmp_path / "hidden" / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')\n")
        settings = {"PYTHONPATH": str(tmp_path / "hidden"), **collected("http://127.0.0.1:1")}
    with listening(stored) as receiver:
        with start(CXR_RESULTS_URL=receiver.url, CXR_RESULTS_FOLDER=str(tmp_path / "results"), **settings) as service:
            assert service.post(film(14), "application/dicom", **SENT).status_code == 200
            eventually(lambda: len(receiver.asked) == 2)
            (line,) = [
                each
                for each in map(json.loads, service.logged().splitlines())
                if each["message"] == "answered" and "trace_id" in each
            ]
        assert (line["trace_id"], line["span_id"]) == (TRACE, PARENT)
        for _, headers, _ in receiver.asked:
            assert {name: headers[name] for name in SENT} == SENT
    assert ("NO TRACES ARE MADE" in service.logged()) is not installed


def test_a_collector_that_is_down_or_never_answers_changes_no_answer(start: Start) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        down = f"http://127.0.0.1:{mute.getsockname()[1]}"  # takes connections, and says nothing
        for url in (down, "http://127.0.0.1:1"):
            with start(**collected(url)) as service:
                for number in range(8):
                    assert service.post(png(number), **SENT).status_code == 200
                service.process.terminate()
                service.process.wait(20)


def test_an_exception_in_the_log_says_where_and_not_with_what() -> None:
    import logging

    try:
        try:
            int("Doe^Jane")
        except ValueError as error:
            raise KeyError("PID-31415") from error
    except KeyError as error:
        line = JsonFormatter().format(
            logging.makeLogRecord({"msg": "m", "exc_info": (type(error), error, error.__traceback__)})
        )
    assert 'Doe^Jane\\")' not in line.replace('int(\\"Doe^Jane\\")', "")
    told = json.loads(line)["exception"]
    assert "KeyError" in told
    assert "ValueError" in told
    assert "test_traces.py" in told
    assert "invalid literal" not in told
