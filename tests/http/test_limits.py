"""Bytes, memory, queue, deadline, and clients and operators who leave midway."""

from __future__ import annotations

import io
import json
import resource
import signal
import socket
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from PIL import Image
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.support.asking import Asked
from tests.support.films import dataset, encoded, part10, pixels, png
from tests.support.served import Served, assert_accepted, assert_problem, read_answer, request_head
from tests.support.told import Told, told
from tests.support.waiting import eventually

Start = Callable[..., AbstractContextManager[Served]]
MAX_BODY_BYTES = 100_000


@pytest.fixture(scope="module")
def narrow(accepting_bundle: Path) -> Iterator[Told]:
    """Takes small bodies only, and radiofluoroscopy too."""
    with told(accepting_bundle, max_body_bytes=MAX_BODY_BYTES, accepted_modalities="CR,DX,RF") as served:
        yield served


def test_a_declared_length_over_the_limit_is_refused_unread(narrow: Told) -> None:
    started = time.monotonic()
    with narrow.connect() as connection:
        connection.sendall(request_head(10**10) + png()[:100])  # the rest never comes
        status, headers, body = read_answer(connection)
    assert time.monotonic() - started < 10
    assert status == 413
    assert headers["content-type"] == "application/problem+json"
    assert "100,000" in json.loads(body)["detail"]
    assert_accepted(narrow.post(png()))


def test_who_waits_for_100_continue_is_refused_without_it(narrow: Told) -> None:
    head = request_head(MAX_BODY_BYTES + 1).removesuffix(b"\r\n") + b"Expect: 100-continue\r\n\r\n"
    with narrow.connect() as connection:
        connection.sendall(head)
        assert connection.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 413"
        assert read_answer(connection)[0] == 413
        assert connection.recv(1) == b""  # closed: else the next bytes could be body or head


def test_a_site_says_which_modalities_are_scored(narrow: Told, service: Served) -> None:
    data = part10(dataset(Modality="RF"))
    assert_accepted(narrow.post(data, "application/dicom"))
    assert "Modality" in assert_problem(service.post(data, "application/dicom"), 400)["detail"]


def test_a_chunked_body_over_the_limit_is_refused_before_its_end(narrow: Told) -> None:
    chunk = b"%x\r\n%s\r\n" % (10_000, png().ljust(10_000, b"\0")[:10_000])
    with narrow.connect() as connection:
        connection.sendall(request_head(None) + chunk * 11)  # and no last chunk
        status, headers, _ = read_answer(connection)
    assert (status, headers["content-type"]) == (413, "application/problem+json")
    assert_accepted(narrow.post(png()))


def test_a_chunked_body_under_the_limit_is_served(narrow: Told) -> None:
    data = png()
    response = narrow.client.post(
        "/v1/score",
        content=(data[i : i + 1000] for i in range(0, len(data), 1000)),
        headers={"Content-Type": "image/png"},
    )
    assert "transfer-encoding" in response.request.headers
    assert_accepted(response)


def test_the_limit_itself_is_allowed_and_one_more_is_not(narrow: Told) -> None:
    data = png()
    assert_accepted(narrow.post(data.ljust(MAX_BODY_BYTES, b"\0")))  # bytes after IEND are no part of a PNG
    assert_problem(narrow.post(data.ljust(MAX_BODY_BYTES + 1, b"\0")), 413)


def test_a_multipart_body_over_the_limit(narrow: Told) -> None:
    large = png().ljust(3 * MAX_BODY_BYTES, b"\0")
    assert_problem(narrow.client.post("/v1/score", files={"file": ("a.png", large, "image/png")}), 413)
    assert_accepted(narrow.client.post("/v1/score", files={"file": ("a.png", png(), "image/png")}))


def test_a_film_in_a_form_has_the_same_limit(narrow: Told) -> None:
    larger = png().ljust(MAX_BODY_BYTES + 1, b"\0")
    assert_problem(narrow.client.post("/v1/score", files={"file": ("a.png", larger, "image/png")}), 413)


def test_a_deflated_dicom_does_not_unfold_over_the_limit(start: Start) -> None:
    """A kilobyte of zlib can hold a megabyte; limits come before work."""
    unfolded = 400 * 2**20
    made = dataset()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = part10(made)[: 128 + 4]
    meta = io.BytesIO()
    write_file_meta_info(meta, made.file_meta, enforce_standard=True)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = b"\x08\x00\x60\x00CS\x02\x00DX" + b"\x29\x00\x10\x10UN\x00\x00" + unfolded.to_bytes(4, "little")
    bomb = squeeze.compress(element)
    for _ in range(unfolded >> 20):
        bomb += squeeze.compress(bytes(2**20))
    bomb += squeeze.flush()
    data = head + meta.getvalue() + bomb
    with start() as service:
        assert_accepted(service.post(png()))
        before = service.memory_kib("VmHWM")
        response = service.post(data, "application/dicom")
        assert response.status_code in {400, 413, 415}, response.text
        assert service.memory_kib("VmHWM") - before < 200 * 1024


def test_a_pixel_limit_of_the_operator(accepting_bundle: Path) -> None:
    with told(accepting_bundle, max_pixels=256 * 256) as service:
        assert_accepted(service.post(png()))
        body = assert_problem(service.post(encoded(Image.fromarray(pixels(side=257)))), 413)
        assert "65,536" in body["detail"]


def _post_at_once(service: Asked, count: int, data: bytes) -> list[int]:
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda _: service.post(data), range(count)))
    for answer in answers:
        if answer.status_code == 503:
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
    return [answer.status_code for answer in answers]


def test_overload_is_503_with_retry_after_and_passes(accepting_bundle: Path) -> None:
    large = encoded(Image.fromarray(pixels(side=2048)))
    with told(accepting_bundle, max_waiting=1) as service:
        statuses: Counter[int] = Counter()
        for _ in range(5):
            statuses.update(_post_at_once(service, 8, large))
            if statuses[503]:
                break
        assert set(statuses) == {200, 503}
        assert_accepted(service.post(png()))
        assert service.get("/healthz").status_code == 200


def test_a_deadline_that_passed_is_504(accepting_bundle: Path) -> None:
    with told(accepting_bundle, deadline_seconds=0.0001) as service:
        body = assert_problem(service.post(png()), 504)
        assert body["type"] == "/problems/deadline-passed"
        assert service.get("/readyz").status_code == 200


def test_many_at_once_are_all_served(service: Served) -> None:
    assert _post_at_once(service, 12, png()) == [200] * 12


def test_bad_ones_among_many_harm_no_neighbour(service: Served) -> None:
    bodies = [png(i) if i % 3 else png(i)[:500] for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        statuses = [answer.status_code for answer in pool.map(service.post, bodies)]
    assert statuses == [200 if i % 3 else 400 for i in range(12)]


def test_a_thousand_stalled_connections_outnumber_no_limit_of_files(
    start: Start,
) -> None:
    """Under a soft limit of 256 open files, which the service raises for itself."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        try:
            service = opened.enter_context(start())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number in range(1000):
            opened.enter_context(service.connect()).sendall(request_head(100)[: number % 60])
        for seed in range(5):
            assert_accepted(service.post(png(seed)))


@pytest.mark.parametrize("when", ["in-the-head", "in-the-body", "before-the-answer"])
def test_a_client_that_hangs_up_harms_nobody(service: Served, when: str) -> None:
    data = png()
    request = request_head(len(data)) + data
    length = {"in-the-head": 30, "in-the-body": len(request) // 2, "before-the-answer": len(request)}[when]
    with ThreadPoolExecutor(4) as pool:
        neighbours = [pool.submit(service.post, png(seed)) for seed in range(4)]
        for _ in range(5):
            with service.connect() as connection:
                connection.sendall(request[:length])
        assert [neighbour.result().status_code for neighbour in neighbours] == [200] * 4
    assert_accepted(service.post(png()))
    left = "a request of a client that left still counts as waiting"
    eventually(lambda: "cxr_waiting_requests 0.0" in service.get("/metrics").text, 20, lambda: left)


def test_sigterm_lets_requests_in_flight_finish(start: Start) -> None:
    data = png()
    request = request_head(len(data)) + data
    with start() as service, ExitStack() as connections:
        idle = connections.enter_context(service.connect())
        open_ones: list[socket.socket] = [connections.enter_context(service.connect()) for _ in range(4)]
        for connection in open_ones:
            connection.sendall(request[:-100])
        time.sleep(0.5)  # until the heads have been read
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for connection in open_ones:
            connection.sendall(request[-100:])
        for connection in open_ones:
            status, _, body = read_answer(connection)
            assert status == 200, body
        assert service.process.wait(timeout=30) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            service.connect()
        assert "Traceback" not in service.logged()
