"""Hostile HTTP on raw sockets: a clear answer or a closed connection, one answer a request, and the neighbours unharmed."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import httpx
import pytest

from app.http.middleware import linger
from app.http.wire import protocol
from app.http.wire.protocol import MAX_HEAD_BYTES, MAX_HEADERS
from app.metrics import CutReason
from tests.support.films import png
from tests.support.served import assert_accepted, assert_problem, read_answer
from tests.support.told import SECONDS, Told, told

FILM = png()
LENGTH = b"Content-Length: %d\r\n" % len(FILM)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(FILM), FILM)
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = GET[:-2] + b"Connection: close\r\n\r\n"


def post(headers: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    head = b"POST /v1/score %s\r\nHost: localhost\r\nContent-Type: image/png\r\n" % version
    return head + headers + b"\r\n" + body


@pytest.fixture(scope="module")
def service(accepting_bundle: Path) -> Iterator[Told]:
    """With a neighbour, whose films are answered all the while."""
    over, answers = threading.Event(), list[int]()

    def neighbour(service: Told) -> None:
        with httpx.Client(base_url=service.client.base_url, timeout=SECONDS) as client:
            while not over.wait(0.05):
                answer = client.post("/v1/score", content=FILM, headers={"Content-Type": "image/png"})
                answers.append(answer.status_code)

    with told(accepting_bundle) as service, ThreadPoolExecutor(1) as pool:
        lives = pool.submit(neighbour, service)
        try:
            yield service
        finally:
            over.set()
        lives.result(SECONDS)
        assert set(answers) == {200}
        service.until("cxr_waiting_requests", 0)
        service.until("cxr_waiting_bytes", 0)


def connect(service: Told) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), SECONDS)


def send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:  # the service did not read to the end
        assert len(data) > MAX_HEAD_BYTES


def all_of(connection: socket.socket) -> bytes:
    """What is answered until the connection is closed."""
    received = bytearray()
    try:
        while more := connection.recv(65_536):
            received += more
    except ConnectionResetError:  # closed on bytes that were not read; what was answered came before
        pass
    return bytes(received)


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def cut(service: Told) -> Counter[str]:
    """Connections that were counted as ended, by reason; a reason of none is left out."""
    page = service.client.get("/metrics").text
    counts = re.findall(r'^cxr_connections_cut_total\{reason="(.+)"\} (\S+)$', page, re.MULTILINE)
    assert {reason for reason, _ in counts} == set(get_args(CutReason))
    return +Counter({reason: int(float(value)) for reason, value in counts})


#: Each is answered 400, and the connection closed: nothing behind it is taken for a request. By the reason that is counted.
REFUSED = {
    # Framing that a proxy in front may read in another way: request smuggling.
    "headers": {
        "a length beside chunks": post(LENGTH + CHUNKED, CHUNKS),
        "chunks beside a length": post(CHUNKED + b"Content-Length: 4\r\n", CHUNKS),
        "two lengths": post(LENGTH + b"Content-Length: 5\r\n", FILM),
        "one length twice": post(LENGTH + LENGTH, FILM),
        "a list of lengths": post(b"Content-Length: 5, 5\r\n", FILM),
        "a signed length": post(b"Content-Length: +5\r\n", FILM),
        "a length below zero": post(b"Content-Length: -1\r\n", FILM),
        "a hexadecimal length": post(b"Content-Length: 0x10\r\n", FILM),
        "a length of 20 digits": post(b"Content-Length: 99999999999999999999\r\n", FILM),
        "an empty length": post(b"Content-Length: \r\n", FILM),
        "a length of two words": post(b"Content-Length: 1 0\r\n", FILM),
        "chunked twice": post(CHUNKED + CHUNKED, CHUNKS),
        "chunked, chunked": post(b"Transfer-Encoding: chunked, chunked\r\n", CHUNKS),
        "identity": post(b"Transfer-Encoding: identity\r\n", CHUNKS),
        "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS),
        "xchunked": post(b"Transfer-Encoding: xchunked\r\n", CHUNKS),
        "chunked after a vertical tab": post(b"Transfer-Encoding:\x0bchunked\r\n", CHUNKS),
        "chunked in HTTP/1.0": post(CHUNKED, CHUNKS, version=b"HTTP/1.0"),
        "a folded line": post(LENGTH + b"X-A: b\r\n c\r\n", FILM),
        "a folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS),
        "a blank before the colon": post(b"Content-Length : 5\r\n", FILM),
        "no colon": post(LENGTH + b"nothing\r\n", FILM),
        "bare line feeds": post(LENGTH, FILM).replace(b"\r\n", b"\n"),
        "one bare line feed": post(LENGTH + b"X-A: b\n", FILM),
        "a bare carriage return": post(LENGTH + b"X-A: b\rX-B: c\r\n", FILM),
        "a NUL": post(LENGTH + b"X-A: a\0b\r\n", FILM),
        "eight bits in a name": post(LENGTH + b"X\xff: a\r\n", FILM),
        "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
        "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    },
    # The same, in chunks.
    "body": {
        "a chunk of 0x5": post(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"),
        "a chunk below zero": post(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"),
        "a chunk of 17 digits": post(CHUNKED, b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n"),
        "a chunk over its length": post(CHUNKED, b"3\r\nhello\r\n0\r\n\r\n"),
        "chunks in bare line feeds": post(CHUNKED, b"5\nhello\n0\n\n"),
        "a chunk extension in a bare line feed": post(CHUNKED, b"5;a\nhello\r\n0\r\n\r\n"),
        "a chunk without its line end": post(CHUNKED, b"5\r\nhello0\r\n\r\n"),
    },
    # What is no request.
    "request-line": {
        "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
        "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.9": b"GET /healthz HTTP/1.9\r\nHost: a\r\n\r\n",
        "a hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "every byte": bytes(range(256)) * 4,
        "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "an unknown method": b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
        "a control character in the path": b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n",
        "eight bits in the path": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        "a fragment": b"GET /healthz#/v1/quarantine HTTP/1.1\r\nHost: a\r\n\r\n",
        "no path": b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    },
    # Too much.
    "too-large": {
        "a million headers": b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 1_000_000 + b"\r\n",
        "headers over the number": b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * MAX_HEADERS + b"\r\n",
        "a header of 50 MB": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 50_000_000,
        "a path of 10 MB": b"GET /" + b"a" * 10_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "trailers without end": post(CHUNKED, CHUNKS[:-2] + b"a: b\r\n" * 100_000),
        "a trailer of 50 MB": post(CHUNKED, CHUNKS[:-2] + b"X-A: " + b"a" * 50_000_000),
        "a chunk extension of 50 MB": post(CHUNKED, b"5;" + b"a" * 50_000_000),
    },
}


@pytest.mark.parametrize(("reason", "name"), [(reason, name) for reason in REFUSED for name in REFUSED[reason]])
def test_it_is_refused_once_and_the_connection_closed(service: Told, reason: str, name: str) -> None:
    before = cut(service)
    with connect(service) as connection:
        send(connection, REFUSED[reason][name] + GET)  # what a smuggler would have answered
        answers = all_of(connection)
    assert cut(service) == before + Counter([reason])
    assert statuses(answers) == [400]
    head, _, body = answers.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("/problems/malformed-request", 400)


ANSWERED = {
    "a chunk extension": (post(CHUNKED, b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(FILM), b"a" * 20_000, FILM)), 200),
    "a length of 19 digits": (post(b"Content-Length: 9223372036854775807\r\n"), 413),
    "a path of 60 kB": (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "an absolute path": (b"GET http://elsewhere/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "an upgrade to web sockets": (GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
    "an upgrade to HTTP/2, as Java's client asks for": (
        post(LENGTH + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", FILM),
        200,
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_it_is_answered_and_what_follows_too(service: Told, name: str) -> None:
    data, status = ANSWERED[name]
    with connect(service) as connection:
        connection.sendall(data)
        assert read_answer(connection)[0] == status
        if status != 413:  # whose body is waited for
            connection.sendall(GET)
            assert read_answer(connection)[0] == 200


def test_an_upgrade_in_two_pieces_anywhere(service: Told) -> None:
    head, _, _ = ANSWERED["an upgrade to HTTP/2, as Java's client asks for"][0].partition(b"\x89PNG")
    for cut in range(1, len(head), 7):
        with connect(service) as connection:
            connection.sendall(head[:cut])
            connection.sendall(head[cut:] + FILM + LAST)
            assert statuses(all_of(connection)) == [200, 200]


def test_upgrades_one_behind_the_other(service: Told) -> None:
    upgrade = GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connect(service) as connection:
        connection.sendall(upgrade * 1500 + LAST)
        assert statuses(all_of(connection)) == [200] * 1501


def test_trailers_are_no_headers(service: Told) -> None:
    body = CHUNKS[:-2] + b"Content-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
    with connect(service) as connection:
        connection.sendall(post(CHUNKED, body))
        assert read_answer(connection)[0] == 200


def test_what_was_asked_before_garbage_is_answered(service: Told) -> None:
    before = cut(service)
    with connect(service) as connection:
        connection.sendall(post(LENGTH, FILM) + post(CHUNKED, CHUNKS) + b"\0garbage\r\n\r\n" + GET)
        assert statuses(all_of(connection)) == [200, 200]
    assert cut(service) == before + Counter(["request-line"])


@pytest.mark.parametrize("whole", [1, 3])
def test_what_was_asked_before_a_body_that_is_none_is_answered(service: Told, whole: int) -> None:
    before = cut(service)
    with connect(service) as connection:
        connection.sendall(post(LENGTH, FILM) * whole + post(CHUNKED, b"3;e=\nHost: h\r\n\n") + GET)
        assert statuses(all_of(connection)) == [200] * whole
    assert cut(service) == before + Counter(["body"])


def test_a_hundred_requests_in_one_piece_are_answered_in_order(service: Told) -> None:
    paths = [b"/healthz" if number % 3 else b"/nothing" for number in range(100)]
    with connect(service) as connection:
        connection.sendall(b"".join(GET.replace(b"/healthz", path) for path in paths) + LAST)
        answers = statuses(all_of(connection))
    assert answers == [200 if path == b"/healthz" else 404 for path in paths] + [200]


def test_forms_within_forms_are_bytes_like_others(service: Told) -> None:
    """A part is a film or none: one that says it is a form is refused by its type, and nobody looks for parts in it."""
    body = FILM
    for depth in range(1000):
        edge = b"--edge%d" % depth
        part = b"\r\nContent-Disposition: form-data; name=file; filename=a\r\n"
        body = edge + part + b"Content-Type: multipart/form-data; boundary=edge%d\r\n\r\n" % (depth - 1) + body
        body += b"\r\n" + edge + b"--\r\n"
    head = {"Content-Type": "multipart/form-data; boundary=edge999"}
    answer = service.client.post("/v1/score", content=body, headers=head)
    assert assert_problem(answer, 415)["type"] == "/problems/unsupported-media-type"


# Slow senders.


@pytest.mark.parametrize(
    "start", [b"", b"\r\n", GET[:20], post(LENGTH)[:-4]], ids=["nothing", "a line", "a word", "a head"]
)
def test_a_head_that_does_not_end_is_cut_off(service: Told, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    before = cut(service)
    with connect(service) as connection:
        connection.sendall(start)
        assert connection.recv(1) == b""
    assert cut(service) == before + Counter(["late"])
    # The second one of a connection too. If nothing of it comes, the connection is idle, and uvicorn closes it after 5 s.
    if start.strip():
        with connect(service) as connection:
            connection.sendall(GET + start)
            assert statuses(all_of(connection)) == [200]


def test_drop_by_drop_is_not_faster(service: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    with connect(service) as connection:
        connection.settimeout(0.05)
        sent = 0
        while True:
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nX: "[sent : sent + 1] or b"a")
                sent += 1
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                assert sent < 200
            except (BrokenPipeError, ConnectionResetError):
                break


def test_a_body_that_does_not_end_is_told_504(accepting_bundle: Path) -> None:
    with told(accepting_bundle, deadline_seconds=0.5) as slow, ExitStack() as opened:
        for headers, body in ((LENGTH, FILM[:100]), (CHUNKED, b"5\r\nhello\r\n"), (CHUNKED, b"5;" + b"a" * 1000)):
            connection = opened.enter_context(connect(slow))
            connection.sendall(post(headers, body))
            assert read_answer(connection)[0] == 504
        slow.until("cxr_waiting_requests", 0)


def test_who_goes_on_after_an_answer_is_cut_off(service: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "LINGER_SECONDS", 0.5)
    with connect(service) as connection:
        connection.sendall(post(CHUNKED).replace(b"/v1/score", b"/healthz") + b"5\r\nhello\r\n")
        assert statuses(all_of(connection)) == [405]


@pytest.mark.parametrize(
    ("headers", "stays"),
    [(LENGTH, True), (CHUNKED, False), (b"Content-Length: %d\r\n" % 2**40, False)],
    ids=["a film", "chunks", "over every limit"],
)
def test_an_answer_that_comes_early_says_whether_its_connection_stays(
    service: Told, headers: bytes, stays: bool
) -> None:
    """Else a client sends its next film on a connection that is about to be closed, and sees a reset."""
    with connect(service) as connection:
        connection.sendall(post(headers).replace(b"/v1/score", b"/healthz"))
        status, told_headers, _ = read_answer(connection)
        assert (status, told_headers.get("connection")) == (405, None if stays else "close")
        if stays:
            connection.sendall(FILM + GET)
            assert read_answer(connection)[0] == 200


def test_a_thousand_stalled_connections_keep_nobody_out(service: Told) -> None:
    stalled = [b"", GET[:30], post(LENGTH, FILM[:500]), b"\r\n"]
    with ExitStack() as opened:
        for number in range(1000):
            connection = opened.enter_context(connect(service))
            if number % 50 == 2:  # twenty hold a place; more than may wait would be told so
                connection.sendall(stalled[2])
            else:
                connection.sendall(stalled[(0, 1, 3)[number % 3]])
        for _ in range(5):
            answer = service.client.post("/v1/score", content=FILM, headers={"Content-Type": "image/png"})
            assert_accepted(answer)
