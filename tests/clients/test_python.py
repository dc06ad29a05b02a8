"""The Python client against served processes, and against a receiver that fails, hangs and repeats."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from cxr_gate_client import (
    Accepted,
    AsyncClient,
    Client,
    Forbidden,
    Problem,
    QuotaExceeded,
    Rejected,
    Result,
    Retries,
    Unauthenticated,
    Unavailable,
)

from app.access import Quota, add_key
from app.pipeline import LABELS
from tests.support.films import dicom, jpeg, png
from tests.support.processes import ROOT
from tests.support.served import Served
from tests.support.told import told

NONE = Retries(most=0)
Score = Callable[..., Result]


def by_client(url: str, film: bytes, key: str | None = None, retries: Retries | None = None, **more: str) -> Result:
    with Client(url, key, retries) as service:
        return service.score(film, **more)


def by_async_client(
    url: str, film: bytes, key: str | None = None, retries: Retries | None = None, **more: str
) -> Result:
    async def scored() -> Result:
        async with AsyncClient(url, key, retries) as service:
            return await service.score(film, **more)

    return asyncio.run(scored())


@pytest.fixture(params=[by_client, by_async_client])
def score(request: pytest.FixtureRequest) -> Score:
    given: Score = request.param
    return given


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(("make", "kind"), [(png, "png"), (jpeg, "jpeg"), (dicom, "dicom")])
def test_a_film_is_judged(service: Served, score: Score, make: Callable[[], bytes], kind: str) -> None:
    film = make()
    result = score(url_of(service.port), film)
    assert isinstance(result, Accepted)
    assert result.source_kind == kind
    raw = service.client.post("/v1/score", content=film).json()
    assert set(result.calls) == set(LABELS)
    assert result.probabilities == raw["probabilities"]
    assert {name: call.call for name, call in result.calls.items()} == {
        name: told["call"] for name, told in raw["calls"].items()
    }
    assert result.present == tuple(name for name, told in raw["calls"].items() if told["call"] == "present")
    assert (result.exposed_field, list(result.notes)) == (raw["exposed_field"], raw["notes"])


def test_a_rejection_is_a_result_and_no_error(rejecting: Served, score: Score) -> None:
    result = score(url_of(rejecting.port), png())
    assert isinstance(result, Rejected)
    assert re.fullmatch("[0-9a-f]{32}", result.request_id)
    assert "let a person look" in result.detail
    assert result.result is None  # nothing is kept there


def test_the_callers_request_id_and_the_model(service: Served, score: Score) -> None:
    result = score(url_of(service.port), png(), request_id="ward-7")
    assert f'"request_id": "{result.request_id}", "caller_request_id": "ward-7"' in service.logged()
    with Client(url_of(service.port)) as client:
        assert client.model()["labels"] == list(LABELS)


def test_what_is_refused_is_a_typed_problem(service: Served, score: Score) -> None:
    with pytest.raises(Problem) as caught:
        score(url_of(service.port), b"no film")
    assert (caught.value.status, caught.value.type) == (400, "/problems/malformed-image")
    assert caught.value.request_id
    assert caught.value.detail in str(caught.value)


def test_keys_and_quotas(accepting_bundle: Path, tmp_path: Path, score: Score) -> None:
    file = tmp_path / "callers.json"
    key = add_key(file, "viewer", ["score"], quota=Quota(1, 1))
    other = add_key(file, "other", ["metrics"])
    with told(accepting_bundle, keys_file=str(file)) as keyed:
        url = url_of(keyed.port)
        with pytest.raises(Unauthenticated):
            score(url, png())
        with pytest.raises(Forbidden):
            score(url, png(), other)
        assert isinstance(score(url, png(), key), Accepted)
        with pytest.raises(QuotaExceeded) as caught:
            score(url, png(), key, NONE)
        assert caught.value.retry_after
        began = time.monotonic()
        with pytest.raises(QuotaExceeded):  # a minute is more than it may wait
            score(url, png(), key, Retries(most_seconds=5))
        assert time.monotonic() - began < 5


# A receiver that does as it is told.


@dataclass
class Receiver:
    answers: list[tuple[int, dict[str, str], bytes] | None]
    url: str = ""
    keys: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@contextmanager
def receiving(*answers: tuple[int, dict[str, str], bytes] | None) -> Iterator[Receiver]:
    """Answers one after the other; None closes the connection without a word."""
    receiver = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            receiver.keys.append(self.headers["Idempotency-Key"])
            receiver.times.append(time.monotonic())
            self.close_connection = True
            answer = receiver.answers.pop(0)
            if answer is None:
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = url_of(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


BUSY = (503, {"Retry-After": "1"}, b"{}")
DOWN = (502, {}, b"<html>a proxy's page</html>")
GOOD = (422, {"Link": '</v1/results/abc>; rel="related"'}, b'{"request_id": "abc", "detail": "let a person look"}')
SOON = Retries(first_seconds=0.01)


def test_it_tries_again_after_what_retry_after_says_and_with_the_same_key(score: Score) -> None:
    with receiving(BUSY, None, DOWN, GOOD) as receiver:
        result = score(receiver.url, png(), retries=SOON)
    assert result == Rejected("abc", "let a person look", "/v1/results/abc")
    assert receiver.times[1] - receiver.times[0] >= 1
    assert len(receiver.keys) == 4
    assert len(set(receiver.keys)) == 1


def test_two_films_have_two_keys_unless_they_are_given(score: Score) -> None:
    with receiving(GOOD, GOOD, GOOD) as receiver:
        for more in ({}, {}, {"idempotency_key": "mine"}):
            score(receiver.url, png(), **more)
    assert len(set(receiver.keys)) == 3
    assert receiver.keys[2] == "mine"


def test_it_gives_up_with_what_it_was_told_last(score: Score) -> None:
    with receiving(DOWN, (504, {}, b"[]")) as receiver, pytest.raises(Unavailable) as caught:
        score(receiver.url, png(), retries=Retries(most=1, first_seconds=0.01))
    assert (caught.value.status, caught.value.type) == (504, "about:blank")
    with receiving(None, None) as receiver, pytest.raises(httpx.TransportError):
        score(receiver.url, png(), retries=Retries(most=1, first_seconds=0.01))


def test_what_does_not_pass_is_not_tried_again(score: Score) -> None:
    with receiving((500, {}, b"{}")) as receiver, pytest.raises(Problem):
        score(receiver.url, png(), retries=SOON)
    assert len(receiver.keys) == 1


def test_the_readmes_example_runs(service: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "clients" / "python" / "README.md").read_text()
    (example,) = re.findall("```python\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "film.dcm").write_bytes(dicom())
    example = example.replace("http://127.0.0.1:8000", url_of(service.port)).replace(
        'open("film.dcm", "rb").read()', f'__import__("pathlib").Path({str(tmp_path / "film.dcm")!r}).read_bytes()'
    )
    exec(compile(example, "README.md", "exec"), {})
    assert "'Effusion':" in capsys.readouterr().out
