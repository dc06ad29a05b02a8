"""One caller who stalls, on real sockets: others are served, and after a pause also those who share his address."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.access import add_key
from app.decoding.decoders import Decoders
from app.engine import place
from app.http.routes import stow
from app.pipeline import DecodedImage
from app.pipeline.image import SourceKind
from tests.http.stowing import CONTENT_TYPE
from tests.http.test_flow import film, head
from tests.support.served import read_answer
from tests.support.told import SECONDS, Told, told

#: The whole of 127/8 is this machine: another address for the sake of the test.
ATTACKER, OTHER = "127.0.0.2", "127.0.0.3"
ATTACKS = {
    "64 that declare 1,000 bytes": (64, 1000, b""),
    "8 that declare 64 MiB": (8, 64 * 1024 * 1024, b""),
    "64 that declare 64 MiB and send a little": (64, 64 * 1024 * 1024, bytes(1000)),
    "64 in chunks": (64, None, b"3e8\r\n" + bytes(1000) + b"\r\n"),
}


@pytest.fixture(scope="module")
def service(accepting_bundle: Path) -> Iterator[Told]:
    with told(accepting_bundle) as service:
        yield service


def connect(service: Told, address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), SECONDS, source_address=(address, 0))


def post_from(service: Told, address: str, authorization: str = "") -> int:
    with connect(service, address) as connection:
        sent = head("/v1/score", len(film(20)))
        if authorization:
            sent = sent.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {authorization}\r\n\r\n".encode())
        connection.sendall(sent + film(20))
        return read_answer(connection)[0]


def stall(opened: ExitStack, service: Told, address: str, attack: str, authorization: str = "") -> None:
    count, length, body = ATTACKS[attack]
    sent = head("/v1/score", length)
    if authorization:
        sent = sent.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {authorization}\r\n\r\n".encode())
    for _ in range(count):
        opened.enter_context(connect(service, address)).sendall(sent + body)
    # What is sent on a connection is read in the order of the connections: after this answer, all that was sent was read.
    service.until("cxr_waiting_requests", min(count, 48))


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_good_request_is_refused_while_one_caller_stalls(service: Told, attack: str) -> None:
    with ExitStack() as opened:
        stall(opened, service, ATTACKER, attack)
        answers = Counter(post_from(service, OTHER) for _ in range(60))
    assert answers == {200: 60}
    service.until("cxr_waiting_requests", 0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nor_at_the_same_address_after_a_pause(service: Told, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_MOST_CREDIT", 0.3 * place.LEAST_BYTES_A_SECOND)
    with ExitStack() as opened:
        stall(opened, service, ATTACKER, attack)
        time.sleep(0.6)
        answers = Counter(post_from(service, ATTACKER) for _ in range(60))
    assert answers == {200: 60}
    service.until("cxr_waiting_requests", 0)


def test_callers_who_come_one_after_the_other_shut_nobody_out(service: Told) -> None:
    """Each takes all it can, so that four hold every place; and none is slow enough yet to lose one for that."""
    with ExitStack() as opened:
        held = 0
        for address, count in (("127.0.0.11", 48), ("127.0.0.12", 12), ("127.0.0.13", 3), ("127.0.0.14", 1)):
            for _ in range(count):
                opened.enter_context(connect(service, address)).sendall(head("/v1/score", 100_000) + bytes(1000))
            held += count
            service.until("cxr_waiting_requests", held)
        assert held == 64
        assert Counter(post_from(service, OTHER) for _ in range(20)) == {200: 20}
    service.until("cxr_waiting_requests", 0)


def test_what_was_sent_and_then_stalls_leaves_bytes_to_others(accepting_bundle: Path) -> None:
    with told(accepting_bundle, max_waiting_bytes=1_000_000) as service, ExitStack() as opened:
        chunk = b"%x\r\n%s\r\n" % (200_000, bytes(200_000))
        for number in range(1, 4):
            opened.enter_context(connect(service, ATTACKER)).sendall(head("/v1/score", None) + chunk)
            service.until("cxr_waiting_bytes", number * 200_000)
        fourth = opened.enter_context(connect(service, ATTACKER))
        fourth.sendall(head("/v1/score", None) + chunk)
        assert read_answer(fourth)[0] == 503
        assert Counter(post_from(service, OTHER) for _ in range(20)) == {200: 20}


def test_callers_with_keys_share_by_their_names(accepting_bundle: Path, tmp_path: Path) -> None:
    """At one address, as behind a proxy; and at two the caller is one."""
    keys = tmp_path / "callers.json"
    bad, good, watch = (add_key(keys, name, [scope]) for name, scope in
                        (("bad", "score"), ("good", "score"), ("watch", "metrics")))  # fmt: skip
    with told(accepting_bundle, keys_file=str(keys)) as service, ExitStack() as opened:
        service.client.headers["Authorization"] = f"Bearer {watch}"
        stall(opened, service, ATTACKER, "64 that declare 1,000 bytes", bad)
        assert Counter(post_from(service, ATTACKER, good) for _ in range(30)) == {200: 30}
        assert post_from(service, OTHER, bad) == 503


def test_many_slow_films_of_one_caller_stand_in_nobodys_way(service: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty whole films that are decoded for long, and one of another caller's: in one line for all it would come last."""
    decode = Decoders._in_thread
    slow = film(20) + b"slow"

    def decode_slowly(self: Decoders, data: bytes, kind: SourceKind | None) -> DecodedImage:
        if data == slow:
            time.sleep(0.3)
        return decode(self, data, kind)

    monkeypatch.setattr(Decoders, "_in_thread", decode_slowly)
    with ExitStack() as opened:
        for _ in range(30):
            opened.enter_context(connect(service, ATTACKER)).sendall(head("/v1/score", len(slow)) + slow)
        service.until("cxr_waiting_requests", 30)
        assert post_from(service, OTHER) == 200
        assert service.metric('cxr_queue_films{queue="decode-caller"}') > 10
    service.until("cxr_waiting_requests", 0)


def test_a_store_has_one_deadline_for_all_its_parts(accepting_bundle: Path) -> None:
    """Each part in time, and all of them too slow: with a deadline for each, two hundred would take two hundred deadlines."""
    boundary = CONTENT_TYPE.split("boundary=")[1].strip('"')
    part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\nnone\r\n".encode()
    deadline, pause = 1.2, 0.7
    started = time.monotonic()
    with told(accepting_bundle, deadline_seconds=deadline) as service, connect(service, OTHER) as connection:
        connection.sendall(head("/dicomweb/studies", None, CONTENT_TYPE))
        connection.settimeout(pause)
        sent = 0
        while sent < 200:
            try:
                sent += 1
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                if connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                pass
        connection.settimeout(SECONDS)
        status, _, body = read_answer(connection)
    assert status == 504
    assert json.loads(body)["type"] == "/problems/deadline-passed"
    # So many parts came that their shares, and the first deadline, are used up; a busy machine only makes them fewer.
    assert 2 <= sent <= deadline / (pause - stow.PART_SHARE * deadline) + 2
    assert time.monotonic() - started < SECONDS
