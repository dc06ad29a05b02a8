"""A caller's own name for its request: carried where it can be, and never taken for what finds a film."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.access import add_key
from tests.http.conftest import Start
from tests.http.stowing import CONTENT_TYPE, related
from tests.support.asking import ANSWER_SECONDS
from tests.support.films import png
from tests.support.reviewing import Keeping, Site, keeping
from tests.support.served import Served, read_answer

OURS = re.compile("[0-9a-f]{32}")
KNOWN = [
    "viewer-1",
    "7c0f6d3e-0b5c-4d1e-9d2a-5a1c3f9e8b7a",  # Envoy, most libraries
    "1-67891233-abcdef012345678912345678",  # AWS
    "Root=1-67891233/app:7~x",
    "0" * 32,  # as long as ours
    "a" * 128,
]


@pytest.fixture(scope="module")
def recorded(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    folder = tmp_path_factory.mktemp("record")
    url = f"sqlite:///{folder}/record.sqlite"
    with start(CXR_RECORD_URL=url, CXR_RECORD_KEY_FILE=str(folder / "key")) as service:
        yield service, folder / "record.sqlite"


def entry(database: Path, request_id: str) -> Any:
    connection = sqlite3.connect(database)
    try:
        return connection.execute("SELECT caller_request_id FROM entries WHERE request_id = ?", [request_id]).fetchall()
    finally:
        connection.close()


def lines_of(service: Served, request_id: str) -> list[dict[str, Any]]:
    """Those of a request, once its answer was logged, which comes after it."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        lines = [json.loads(line) for line in service.logged().splitlines()]
        mine = [line for line in lines if line.get("request_id") == request_id]
        if any(line["message"] == "answered" for line in mine):
            return mine
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("given", KNOWN)
def test_it_is_carried_through_answer_log_and_record(recorded: tuple[Served, Path], given: str) -> None:
    service, database = recorded
    answer = service.post(png(), X_Request_ID=given)
    assert answer.headers["x-request-id"] == given
    ours = answer.headers["x-service-request-id"]
    assert OURS.fullmatch(ours)
    assert ours != given
    assert answer.json()["request_id"] == ours
    assert entry(database, ours) == [(given,)]
    assert {line["caller_request_id"] for line in lines_of(service, ours)} == {given}


@pytest.mark.parametrize(
    "given", ["", "two words", "Doe^Jane", "a,b", "é".encode(), "a\tb", 'a"b', "<script>", "a" * 129, "a;b", "\x7f"]
)
def test_what_could_not_stand_in_a_log_is_passed_over(recorded: tuple[Served, Path], given: str | bytes) -> None:
    service, database = recorded
    headers = {"Content-Type": "image/png", "X-Request-ID": given}
    answer = service.client.post("/v1/score", content=png(), headers=headers)  # type: ignore[arg-type]
    if answer.status_code == 400:  # no character of a header at all
        assert given == "\x7f"
        return
    ours = answer.headers["x-request-id"]
    assert ours == answer.json()["request_id"]
    assert OURS.fullmatch(ours)
    assert "x-service-request-id" not in answer.headers
    assert entry(database, ours) == [(None,)]
    assert not any("caller_request_id" in line for line in lines_of(service, ours))


def test_two_of_them_are_none(service: Served) -> None:
    with service.connect() as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: a\r\nX-Request-ID: b\r\n\r\n")
        _, headers, _ = read_answer(connection)
    assert OURS.fullmatch(headers["x-request-id"])


def test_one_that_repeats_names_several_requests_with_an_id_each(recorded: tuple[Served, Path]) -> None:
    service, _ = recorded
    answers = [service.post(png(seed), X_Request_ID="again") for seed in range(3)]
    assert [answer.headers["x-request-id"] for answer in answers] == ["again"] * 3
    assert len({answer.json()["request_id"] for answer in answers}) == 3


def test_refusals_and_stores_carry_it_too(service: Served) -> None:
    refused = service.post(b"no film", X_Request_ID="refused-1")
    assert refused.status_code == 400
    assert refused.headers["x-request-id"] == "refused-1"
    body = refused.json()
    assert body["request_id"] == refused.headers["x-service-request-id"]
    assert body["instance"] == f"/requests/{body['request_id']}"
    headers = {"Content-Type": CONTENT_TYPE, "X-Request-ID": "store-1"}
    assert service.client.post("/dicomweb/studies", content=related([]), headers=headers).headers[
        "x-request-id"
    ] == "store-1"  # fmt: skip


@pytest.fixture
def kept(rejecting_bundle: Path, tmp_path: Path) -> Iterator[Keeping]:
    site = Site.make(tmp_path)
    site.keys["chief"] = add_key(tmp_path / "callers.json", "chief", ["score", "review", "operate"])
    with keeping(site, rejecting_bundle) as kept:
        yield kept


def test_a_rejected_film_is_found_by_our_id_and_operators_find_it_by_the_callers(kept: Keeping) -> None:
    """Else whoever sends an id a second time would reach another's film, or hide it."""
    bearer = {"Authorization": f"Bearer {kept.site.keys['chief']}"}
    sent = {**bearer, "Content-Type": "image/png", "X-Request-ID": "ward-7"}
    ids = []
    for seed in range(2):
        answer = kept.client.post("/v1/score", content=png(seed), headers=sent)
        assert answer.status_code == 422
        ids.append(answer.json()["request_id"])
    assert kept.client.get("/v1/results/ward-7", headers=bearer).status_code in {400, 404}
    for id in ids:
        assert kept.client.get(f"/v1/results/{id}", headers=bearer).status_code == 409  # awaiting review
    found = kept.client.get("/v1/decisions?caller_request_id=ward-7", headers=bearer).json()["decisions"]
    assert [decision["request_id"] for decision in found] == ids[::-1]
    assert [decision["film"] for decision in found] == ids[::-1]
    assert kept.client.get("/v1/decisions?caller_request_id=ward-8", headers=bearer).json()["decisions"] == []


def test_a_second_request_of_a_connection_has_not_the_id_of_the_first(service: Served) -> None:
    with socket.create_connection(("127.0.0.1", service.port), ANSWER_SECONDS) as connection:
        head = "GET /v1/model HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(f"{head}X-Request-ID: first\r\n\r\n".encode())
        assert read_answer(connection)[1]["x-request-id"] == "first"
        connection.sendall(f"{head}\r\n".encode())
        assert OURS.fullmatch(read_answer(connection)[1]["x-request-id"])
