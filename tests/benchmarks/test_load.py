"""The load generator tells right answers from wrong, refused and lost ones, over real sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.pipeline.labels import LABELS
from benchmarks.plan import HEADLINE
from benchmarks.summary import summary

ROOT = Path(__file__).resolve().parents[2]
PROBABILITIES = [0.1] * len(LABELS)
GOLDEN = {"probabilities": PROBABILITIES, "log_density": 100.0, "accepted": True}


def answer(status: int, content: object, *, chunked: bool = False, more: str = "") -> bytes:
    body = json.dumps(content).encode()
    if chunked:
        parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]))
        return f"HTTP/1.1 {status} Said\r\nTransfer-Encoding: chunked\r\n{more}\r\n".encode() + parts + b"0\r\n\r\n"
    return f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


RIGHT = {"probabilities": PROBABILITIES, "log_density": 100.2}


def read_request(connection: socket.socket) -> bool:
    """One whole request; False at the end of the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return False
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while left > 0:
        if not (more := connection.recv(min(left, 65536))):
            return False
        left -= len(more)
    return True


def repeating(said: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(said)

    return serve


def once_then_close(connection: socket.socket) -> None:
    """Answers as if the connection stayed open, then closes it, as a server does with an idle one."""
    if read_request(connection):
        connection.sendall(answer(200, RIGHT))


def before_the_body(connection: socket.socket) -> None:
    """Refuses at the head, and reads the rest only so that the refusal is not lost with the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1024)
    connection.sendall(answer(503, {}, more="Connection: close\r\n"))
    while connection.recv(65536):
        pass


def hang_up_at_once(connection: socket.socket) -> None:
    read_request(connection)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the load may end first
            serve(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def generate(port: int, folder: Path, **changes: Any) -> dict[str, Any]:
    film = folder / "film"
    film.write_bytes(b"\x89PNG" * 500_000)
    entry = {"file": str(film), "media_type": "image/png", "golden": GOLDEN}
    load = {
        "port": port,
        "path": "/score",
        "protocol": "json",
        "films": [entry],
        "broken": [entry | {"golden": None}],
        "clients": 2,
        "rate": 0.0,
        "seconds": 0.3,
        "hostile": False,
        "timeout": 10,
        "seed": 1,
    }
    command = [sys.executable, "-m", "benchmarks.generator"]
    done = subprocess.run(
        command, input=json.dumps(load | changes).encode(), stdout=subprocess.PIPE, check=True, cwd=ROOT
    )
    came: dict[str, Any] = json.loads(done.stdout)
    return came


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        pytest.param(repeating(answer(200, RIGHT)), "correct", id="right"),
        pytest.param(repeating(answer(200, RIGHT, chunked=True)), "correct", id="right, in chunks"),
        pytest.param(once_then_close, "correct", id="idle connection closed"),
        pytest.param(
            repeating(answer(200, RIGHT | {"probabilities": [0.102] * len(LABELS)})), "wrong", id="another's answer"
        ),
        pytest.param(repeating(answer(200, RIGHT | {"log_density": 99.0})), "wrong", id="another's log density"),
        pytest.param(repeating(answer(200, "none")), "wrong", id="no answer of this shape"),
        pytest.param(repeating(answer(500, {})), "error 500", id="failed"),
        pytest.param(before_the_body, "refused", id="refused before the body"),
        pytest.param(hang_up_at_once, "lost", id="lost"),
    ],
)
def test_outcomes(serve: Callable[[socket.socket], None], said: str, tmp_path: Path) -> None:
    with server(serve) as port:
        came = generate(port, tmp_path)
    assert {outcome for _, outcome, _, _ in came["records"]} == {said}
    counted = summary("system", HEADLINE, 0.0, came)
    total = len(came["records"])
    expected = {"correct": (total, 0, 0), "refused": (0, total, 0)}.get(said, (0, 0, total))
    assert (counted["correct"], counted["refused"], counted["harmed"]) == expected


def test_an_open_loop_counts_from_when_a_film_was_due(tmp_path: Path) -> None:
    """One answer at a time, and slower than films arrive: those behind wait, and their latency says so."""
    turn = threading.Lock()
    pause = threading.Event()

    def slow(connection: socket.socket) -> None:
        while read_request(connection):
            with turn:
                pause.wait(0.05)
                connection.sendall(answer(200, RIGHT))

    with server(slow) as port:
        came = generate(port, tmp_path, rate=80.0, seconds=0.5)
    latencies = [end - due for _, _, due, end in came["records"]]
    assert len(latencies) > 20
    assert latencies[-1] > 0.05 * len(latencies) - 0.5 - 0.05  # what is left to do when the last film arrives


def test_hostile_clients_are_told_apart(tmp_path: Path) -> None:
    with server(repeating(answer(200, RIGHT))) as port:
        came = generate(port, tmp_path, hostile=True, seconds=1.0)
    kinds = Counter((kind, said) for kind, said, _, _ in came["records"])
    assert set(kinds) == {
        ("good", "correct"),
        ("broken", "wrong"),  # nobody should answer an undecodable film with 200
        ("left in upload", "left"),
        ("left waiting", "left"),
    }
    assert summary("system", HEADLINE, 0.0, came)["harmed"] == 0
