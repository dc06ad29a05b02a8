"""One trace from the caller through the service to the DICOMweb server, as a real collector gets it; and none of it needed."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.http.conftest import Start
from tests.http.stowing import CONTENT_TYPE, STUDIES, post, related
from tests.results.films import film
from tests.support.collecting import Answer, Listener, collect, collected, listening, of_trace
from tests.support.films import png
from tests.support.served import Served, read_answer
from tests.support.waiting import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STAGES = ("read", "decode", "wait", "inference", "record", "report", "deliver")
PARENT = "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "hospital=t61rcWkgMzE"}


#: FastAPI needs opentelemetry-api, so that is there without the extra; the SDK and the exporter are not.
HIDES_THE_EXTRA = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
"""


def stored(path: str, body: bytes) -> Answer:
    """As a DICOMweb server: nothing is there, and what is posted is stored."""
    if not body:
        return 204, b"", "application/dicom+json"
    report = dcmread(io.BytesIO(body[body.index(b"\r\n\r\n") + 4 :]), stop_before_pixels=True, force=False)
    content = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [report.SOPInstanceUID]}}]}}
    return 200, json.dumps(content).encode(), "application/dicom+json"


@dataclass(frozen=True)
class Observed:
    service: Served
    collector: Listener
    receiver: Listener


@pytest.fixture(scope="module")
def observed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = str(tmp_path_factory.mktemp("results"))
    with listening(collect) as collector, listening(stored) as receiver:
        # FastAPI would export by itself, with paths and the texts of errors, where it is asked to by this variable.
        unasked = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true"}
        results = {"CXR_RESULTS_URL": receiver.url, "CXR_RESULTS_FOLDER": folder}
        settings = {**results, **unasked, **collected(collector.url)}
        with start(**settings) as service:
            yield Observed(service, collector, receiver)


def test_one_trace_from_the_caller_to_the_dicomweb_server(observed: Observed) -> None:
    service, collector, receiver = observed.service, observed.collector, observed.receiver
    answer = service.post(film(11), "application/dicom", X_Request_ID="viewer-1", **SENT)
    assert answer.status_code == 200
    eventually(lambda: any(what == "POST /studies" for what, *_ in receiver.asked))
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
        "cxr.caller_request_id": "viewer-1",
    }
    stages = {name: of_trace(collector, TRACE, name) for name in STAGES}
    assert {name: len(spans) for name, spans in stages.items()} == dict.fromkeys(STAGES, 1)
    parents = {name: span.parent for name, (span,) in stages.items()}
    report = stages["report"][0].span_id
    assert parents == {**dict.fromkeys(STAGES, server.span_id), "deliver": report}
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


def test_the_instances_of_a_store_are_read_one_by_one(observed: Observed) -> None:
    """One comes at once, and another half a second later, while the first is judged."""
    trace = "9" * 32
    body = related([film(15), film(16)])
    first, second = body[: body.rindex(b"--a-boundary\r\n")], body[body.rindex(b"--a-boundary\r\n") :]
    with observed.service.connect() as connection:
        connection.sendall(
            f"POST {STUDIES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
            f"traceparent: 00-{trace}-{PARENT}-01\r\n\r\n".encode()
        )
        connection.sendall(first + second[:20])
        time.sleep(0.5)
        connection.sendall(second[20:])
        assert read_answer(connection)[0] == 200
    eventually(lambda: bool(of_trace(observed.collector, trace, "POST /dicomweb/studies")))
    (server,) = of_trace(observed.collector, trace, "POST /dicomweb/studies")
    reads = of_trace(observed.collector, trace, "read")
    assert {read.parent for read in reads} == {server.span_id}
    assert [read.attributes for read in reads] == [{}] * 3  # the first, the second, the end; none of them a fault
    assert max(read.seconds for read in reads) > 0.4
    assert len(of_trace(observed.collector, trace, "inference")) == 2


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
        service.client.request(
            "PROPFIND", "/v1/score", headers={"traceparent": f"00-{'d' * 32}-{PARENT}-01"}
        ).status_code
        == 405
    )
    eventually(lambda: bool(of_trace(observed.collector, "b" * 32, "POST /dicomweb/studies/{study}")))
    eventually(lambda: {"c" * 32, "d" * 32} <= {each.trace_id for each in observed.collector.spans()})
    (server,) = of_trace(observed.collector, "b" * 32, "POST /dicomweb/studies/{study}")
    assert server.attributes["url.path"] == "/dicomweb/studies/{study}"
    (other,) = [each for each in observed.collector.spans() if each.trace_id == "d" * 32]
    assert other.attributes["http.request.method"] == "_OTHER"
    assert {what for what, *_ in observed.collector.asked} == {"POST /v1/traces"}
    exported = b"".join(body for _, _, body in observed.collector.asked)
    assert len(exported) > 1000
    for secret in ("Doe", "Jane", "PID-31415", "ACC-27182", study, "log_density", "probabilit"):
        assert secret.encode() not in exported, secret
        assert secret not in service.logged(), secret
    allowed = {
        "cxr.request_id",
        "cxr.caller_request_id",
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
    eventually(lambda: len(passed()) == 3)  # QIDO-RS, STOW-RS, WADO-RS
    assert all(each.endswith("-00") for each in passed())
    assert observed.service.post(png(), traceparent=f"00-{'f' * 32}-{PARENT}-01").status_code == 200
    eventually(lambda: bool(of_trace(observed.collector, "f" * 32, "POST /v1/score")))
    assert not [each for each in observed.collector.spans() if each.trace_id == trace]


@pytest.mark.parametrize("installed", [True, False], ids=["off", "not installed"])
def test_without_traces_the_callers_is_passed_on_as_it_came(start: Start, tmp_path: Path, installed: bool) -> None:
    settings = {}
    if not installed:
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDES_THE_EXTRA)
        settings = {"PYTHONPATH": str(tmp_path / "hidden"), **collected("http://127.0.0.1:1")}
    with listening(stored) as receiver:
        with start(CXR_RESULTS_URL=receiver.url, CXR_RESULTS_FOLDER=str(tmp_path / "results"), **settings) as service:
            assert service.post(film(14), "application/dicom", **SENT).status_code == 200
            eventually(lambda: len(receiver.asked) == 3)
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
