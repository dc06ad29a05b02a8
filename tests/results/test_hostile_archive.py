"""An archive that sends too much, too slowly, or elsewhere: the delivery reads no more of it than it must, and goes on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.results import DicomwebServer, dicomweb
from app.results.dicomweb import MOST_UIDS, DeliveryFailed
from tests.results.archive import Answer, archive
from tests.results.films import film
from tests.results.test_fairness import delivering
from tests.results.test_forged import Forger
from tests.results.test_report import KEY, REJECTED, report_bytes
from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"


class Talker:
    """Sends, to each request, what it is told to; counts the bytes that were taken."""

    def __init__(self, say: Callable[[Callable[[bytes], None]], None]) -> None:
        self._say = say
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.sent = 0
        self.asked: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/dicom-web"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        self._listening.settimeout(0.05)
        while not self._ended.is_set():
            with suppress(TimeoutError):
                caller, _ = self._listening.accept()
                with caller, suppress(OSError):
                    caller.settimeout(5)
                    self.asked.append(caller.recv(65536))
                    self._say(lambda data, caller=caller: self._send(caller, data))  # type: ignore[misc]

    def _send(self, caller: socket.socket, data: bytes) -> None:
        if self._ended.is_set():
            raise OSError
        caller.sendall(data)
        self.sent += len(data)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._listening.close()


@contextmanager
def talker(say: Callable[[Callable[[bytes], None]], None]) -> Iterator[Talker]:
    made = Talker(say)
    try:
        yield made
    finally:
        made.close()


def endless(send: Callable[[bytes], None]) -> None:
    """A search that finds everything there is."""
    send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        send(b"10000\r\n" + b" " * 65536 + b"\r\n")


def announced(send: Callable[[bytes], None]) -> None:
    send(OK + b"Content-Length: 5000000000\r\n\r\n")
    while True:
        send(b" " * 65536)


def trickled_body(send: Callable[[bytes], None]) -> None:
    send(OK + b"Content-Length: 5000\r\n\r\n")
    while True:
        send(b" ")
        time.sleep(0.05)


def trickled_head(send: Callable[[bytes], None]) -> None:
    send(OK + b"X-Patience: ")
    while True:
        send(b"a")
        time.sleep(0.05)


def nested(send: Callable[[bytes], None]) -> None:
    """Deeper than a parser may go."""
    send(OK + b"Content-Length: 200000\r\n\r\n" + b"[" * 200000)


@pytest.mark.parametrize("say", [endless, announced])
def test_an_answer_of_gigabytes_is_not_read(say: Callable[[Callable[[bytes], None]], None]) -> None:
    with talker(say) as server:
        with pytest.raises(DeliveryFailed, match="AnswerTooLarge"):
            DicomwebServer(server.url, key=KEY).deliver(report_bytes(film(), REJECTED))
        assert server.sent < 50 * 2**20  # what the machine holds of a connection


@pytest.mark.parametrize("say", [trickled_body, trickled_head])
def test_a_trickle_does_not_hold_the_delivery_up(
    say: Callable[[Callable[[bytes], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is in time, and the answer never is."""
    monkeypatch.setattr(dicomweb, "ANSWER_SECONDS", 0.5)
    with talker(say) as server:
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match="AnswerTooLate"):
            DicomwebServer(server.url, key=KEY).deliver(report_bytes(film(), REJECTED))
        assert time.monotonic() - began < 5
        assert server.sent > 5


def test_an_answer_that_is_nested_too_deeply_is_no_answer() -> None:
    with talker(nested) as server, pytest.raises(DeliveryFailed, match="not DICOM JSON"):
        DicomwebServer(server.url, key=KEY).deliver(report_bytes(film(), REJECTED))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_report_goes_to_no_other_address(status: int) -> None:
    def moved(send: Callable[[bytes], None]) -> None:
        location = f"Location: {elsewhere.url}/studies\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        send(f"HTTP/1.1 {status} Moved\r\n{location}".encode())

    with talker(endless) as elsewhere, talker(moved) as server:
        with pytest.raises(DeliveryFailed, match=str(status)):
            DicomwebServer(server.url, "somebody", "secret", key=KEY).deliver(report_bytes(film(), REJECTED))
        assert server.asked
        assert not elsewhere.asked


def test_no_proxy_of_the_environment_sees_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a password from a file of the user's."""
    with talker(endless) as proxy, archive() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert DicomwebServer(server.url, key=KEY).deliver(report_bytes(film(), REJECTED)).outcome == "stored"
        assert not proxy.asked


class Usurper(Forger):
    """Somebody else is there first, whichever UID a report is tried under."""

    forging = MOST_UIDS


def test_a_report_whose_every_uid_is_taken_is_an_alarm(tmp_path: Path) -> None:
    with delivering(tmp_path, lambda *_: Answer()) as bench:
        bench.archive.__class__ = Usurper
        bench.put("taken")
        eventually(lambda: (bench.value("report_conflicts_total") or 0) >= MOST_UIDS, 20)
        assert bench.waiting() == {"taken"}
