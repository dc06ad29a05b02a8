"""Real sockets before a device that does as it is told: overload, hang-ups, poison, a device that fails and comes back."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.pipeline import LABELS
from tests.http.stowing import CONTENT_TYPE, related
from tests.support.films import dicom
from tests.support.screeners import picture
from tests.support.served import assert_accepted, assert_problem, read_answer
from tests.support.told import SECONDS, Told, told


def film(mark: int, ballast: int = 0) -> bytes:
    """A PNG with a mark, made longer by bytes that no decoder reads."""
    buffer = io.BytesIO()
    Image.fromarray(picture(mark)).save(buffer, "PNG")
    return buffer.getvalue() + bytes(ballast)


def head(path: str, length: int | None, content_type: str = "image/png") -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()


def post(service: Told, data: bytes) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{service.port}/v1/score",
        content=data,
        headers={"Content-Type": "image/png"},
        timeout=SECONDS,
    )


@contextmanager
def held(service: Told) -> Iterator[Future[httpx.Response]]:
    """The device is busy with film 10 until the block ends."""
    service.screener.gate.clear()
    service.screener.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, service, film(10))
        try:
            assert service.screener.entered.wait(SECONDS)
            yield first
        finally:
            service.screener.gate.set()


def assert_empty(service: Told) -> None:
    for name in ("cxr_waiting_requests", "cxr_waiting_bytes", 'cxr_queue_films{queue="decode-thread"}'):
        service.until(name, 0)
    service.until('cxr_queue_films{queue="device"}', 0)


def mark_of(response: httpx.Response) -> int:
    """Which film the answer is of."""
    return round(assert_accepted(response)["probabilities"][LABELS[0]] * 255)


@pytest.fixture(scope="module")
def service(accepting_bundle: Path) -> Iterator[Told]:
    with told(accepting_bundle, max_waiting_bytes=500_000) as service:
        yield service


@contextmanager
def pulse() -> Iterator[list[float]]:
    """How late a thread of this process was, at each turn of 10 ms until the block ends; in seconds."""
    over, late = threading.Event(), [0.0]

    def beat() -> None:
        while not over.is_set():
            before = time.monotonic()
            over.wait(0.01)
            late.append(time.monotonic() - before - 0.01)

    with ThreadPoolExecutor(1) as pool:
        beating = pool.submit(beat)
        try:
            yield late
        finally:
            over.set()
    beating.result()


def test_at_one_and_a_half_times_capacity_the_accepted_keep_their_deadline(accepting_bundle: Path) -> None:
    """25 films a second are judged, and 37.5 arrive; a queue of 1.5 s is there already.

    The admission leaves a quarter of the deadline (0.75 s) for what it cannot foresee. Where the machine itself stood still for
    most of that, a deadline that passed says nothing of the admission, and it is tried again.
    """

    async def scenario(port: int) -> list[httpx.Response]:
        # Each on a connection of its own: one that is kept may be closed by the service just as it is used again.
        limits = httpx.Limits(max_connections=1000)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, limits=limits) as client:

            async def one(at: float, mark: int) -> httpx.Response:
                await asyncio.sleep(at)
                headers = {"Content-Type": "image/png", "Connection": "close"}
                return await client.post("/v1/score", content=film(mark), headers=headers)

            await one(0, 20)
            arrivals = [0.0] * 38 + [number / 37.5 for number in range(150)]
            return await asyncio.gather(*(one(at, 20 + index) for index, at in enumerate(arrivals)))

    for last in (False, False, True):
        with told(accepting_bundle, seconds_a_film=0.04, deadline_seconds=3, max_waiting=10_000) as service:
            with pulse() as late:
                answers = asyncio.run(scenario(service.port))
            stood_still = max(late) > 0.5
            if stood_still and not last and 504 in {answer.status_code for answer in answers}:
                continue
            accepted = [mark_of(answer) for answer in answers if answer.status_code == 200]
            refused = [answer for answer in answers if answer.status_code != 200]
            assert accepted == [20 + index for index, answer in enumerate(answers) if answer.status_code == 200]
            assert len(accepted) > 75  # 5.5 s at 25 a second would be 137
            assert len(refused) > 10
            for answer in refused:
                problem = assert_problem(answer, 503)
                assert problem["type"] == "/problems/overloaded"
                assert answer.headers["Retry-After"] in {"1", "2", "3"}
                assert f"try again in {answer.headers['Retry-After']} s" in problem["detail"]
            assert service.metric('cxr_admissions_refused_total{reason="wait"}') == len(refused)
            assert_empty(service)
            assert mark_of(post(service, film(20))) == 20
            return


@pytest.mark.parametrize("path", ["/v1/score", "/v1/explain?finding=Mass"])
def test_half_of_the_clients_hang_up_while_they_wait(service: Told, path: str) -> None:
    service.screener.judged.clear()
    with ExitStack() as connections:
        with held(service) as first:
            sockets: list[socket.socket] = []
            for mark in range(20, 40):
                sockets.append(
                    connections.enter_context(socket.create_connection(("127.0.0.1", service.port), SECONDS))
                )
                sockets[-1].sendall(head(path, len(film(mark))) + film(mark))
            service.until('cxr_queue_films{queue="device"}', 20)
            bytes_of_all = service.metric("cxr_waiting_bytes")
            for leaving in sockets[::2]:
                leaving.close()
            service.until("cxr_waiting_requests", 11)
            service.until('cxr_queue_films{queue="device"}', 10)
            assert service.metric("cxr_waiting_bytes") < bytes_of_all
        assert mark_of(first.result()) == 10
        assert [read_answer(staying)[0] for staying in sockets[1::2]] == [200] * 10
    assert sorted(service.screener.judged) == [10, *range(21, 40, 2)]
    assert_empty(service)


def test_whoever_left_is_counted_as_such_and_not_as_our_fault(service: Told) -> None:
    before = service.metric('cxr_http_requests_total{route="/v1/score",status="499"}')
    with held(service):
        with socket.create_connection(("127.0.0.1", service.port), SECONDS) as leaving:
            leaving.sendall(head("/v1/score", len(film(20))) + film(20))
            service.until('cxr_queue_films{queue="device"}', 1)
        service.until('cxr_http_requests_total{route="/v1/score",status="499"}', before + 1)
    assert service.metric('cxr_http_requests_total{route="/v1/score",status="500"}') == 0


def test_a_store_transaction_goes_on_for_the_record(service: Told) -> None:
    """Its sender's next attempt is answered from it."""
    before = service.metric('cxr_store_instances_total{answer="scored"}')
    body = related([dicom()])
    with held(service), socket.create_connection(("127.0.0.1", service.port), SECONDS) as leaving:
        leaving.sendall(head("/dicomweb/studies", len(body), CONTENT_TYPE) + body)
        service.until('cxr_queue_films{queue="device"}', 1)
    service.until('cxr_store_instances_total{answer="scored"}', before + 1)
    assert_empty(service)


def test_bytes_announced_or_arrived_are_refused_unread(service: Told) -> None:
    with held(service), ThreadPoolExecutor(1) as pool:
        large = pool.submit(post, service, film(20, ballast=300_000))
        service.until('cxr_queue_films{queue="device"}', 1)
        for start in (
            head("/v1/score", 200_000),
            head("/v1/score", None) + b"%x\r\n" % 100_000 + film(30, 100_000)[:100_000] + b"\r\n",
            head("/dicomweb/studies", 200_000, CONTENT_TYPE),
            head("/dicomweb/studies", None, CONTENT_TYPE) + b"%x\r\n" % 100_000 + b"-" * 100_000 + b"\r\n",
        ):
            with socket.create_connection(("127.0.0.1", service.port), SECONDS) as connection:
                connection.sendall(start)  # and nothing more
                status, headers, body = read_answer(connection)
            assert (status, b"bytes wait already" in body) == (503, True)
            assert int(headers["retry-after"]) >= 1
        service.screener.gate.set()
        assert mark_of(large.result()) == 20
    assert_empty(service)
    assert mark_of(post(service, film(20, ballast=600_000))) == 20  # alone it may be larger than all may be together


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize("length", [5_000_000, None], ids=["declared", "chunked"])
def test_a_refusal_reaches_whoever_sends_all_before_he_reads(
    accepting_bundle: Path, length: int | None, connection: str
) -> None:
    """As proxies do; and a connection that is kept is good for the next attempt. Of chunks nobody knows how many follow."""
    ends = connection == "close" or length is None
    data = film(20, ballast=5_000_000)[:5_000_000]
    start = head("/v1/score", length).replace(b"\r\n\r\n", f"\r\nConnection: {connection}\r\n\r\n".encode())
    request = start + (data if length else b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
    with told(accepting_bundle, max_waiting=1) as service, ExitStack() as opened:

        def open_one() -> socket.socket:
            return opened.enter_context(socket.create_connection(("127.0.0.1", service.port), SECONDS))

        with held(service):
            patient = open_one()
            for _ in range(3):
                patient.sendall(request)
                status, headers, _ = read_answer(patient)
                assert (status, headers.get("connection") == "close") == (503, ends)
                patient = open_one() if ends else patient
        service.until("cxr_waiting_requests", 0)
        patient.sendall(request)
        assert read_answer(patient)[0] == 200


def test_a_poisonous_film_fails_alone(service: Told) -> None:

    def poisonous(marks: list[int]) -> None:
        if 25 in marks:
            raise RuntimeError("CUDA error")

    service.screener.rule = poisonous
    try:
        with held(service) as first, ThreadPoolExecutor(10) as pool:
            answers = [pool.submit(post, service, film(mark)) for mark in range(20, 30)]
            service.until('cxr_queue_films{queue="device"}', 10)
            service.screener.gate.set()
            statuses = [answer.result().status_code for answer in answers]
    finally:
        service.screener.rule = lambda marks: None
    assert first.result().status_code == 200
    assert statuses == [503 if mark == 25 else 200 for mark in range(20, 30)]
    assert assert_problem(answers[5].result(), 503)["type"] == "/problems/inference-failed"
    assert service.client.get("/readyz").status_code == 200
    assert_empty(service)


def test_a_device_that_fails_is_not_ready_until_it_is_proven_again(accepting_bundle: Path) -> None:
    with told(accepting_bundle, device_retry_seconds=0.05) as service:
        assert mark_of(post(service, film(20))) == 20
        service.screener.broken = True
        answer = post(service, film(30))
        assert assert_problem(answer, 503)["type"] == "/problems/not-ready"
        assert int(answer.headers["Retry-After"]) >= 1
        assert_problem(service.client.get("/readyz"), 503)
        assert service.client.get("/healthz").status_code == 200
        assert (service.metric("cxr_devices_in_service"), service.metric("cxr_ready")) == (0, 0)
        assert_problem(post(service, film(30)), 503)
        service.screener.broken = False
        service.until("cxr_ready", 1)
        assert service.client.get("/readyz").status_code == 200
        assert mark_of(post(service, film(40))) == 40
        assert_empty(service)
