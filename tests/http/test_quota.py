"""Quotas over real sockets: who asks too much is told when there is more, and nobody else notices."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.access import Quota, add_key, revoke_keys
from tests.http.stowing import CONTENT_TYPE, related
from tests.support.films import dicom, png
from tests.support.served import assert_problem
from tests.support.told import Told, told

BURST = 3


@dataclass(frozen=True)
class Limited:
    service: Told
    file: Path
    keys: dict[str, str]

    def ask(self, name: str, method: str = "POST", path: str = "/v1/score") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[name]}", "Content-Type": "image/png"}
        return self.service.client.request(method, path, content=png() if method == "POST" else None, headers=headers)


@pytest.fixture
def limited(accepting_bundle: Path, tmp_path: Path) -> Iterator[Limited]:
    """A caller of few requests an hour, one of the service's own quota, which is as small, and one of many."""
    file = tmp_path / "callers.json"
    keys = {
        "few": add_key(file, "few", ["score", "metrics"], quota=Quota(1, BURST)),
        "usual": add_key(file, "usual", ["score"]),
        "many": add_key(file, "many", ["score"], quota=Quota(60_000, 1000)),
    }
    with told(accepting_bundle, keys_file=str(file), quota_per_minute=1.0, quota_burst=BURST) as service:
        yield Limited(service, file, keys)


@pytest.mark.parametrize("name", ["few", "usual"])
def test_who_asks_too_much_is_told_when_there_is_more(limited: Limited, name: str) -> None:
    assert [limited.ask(name).status_code for _ in range(BURST)] == [200] * BURST
    answer = limited.ask(name)
    body = assert_problem(answer, 429)
    assert body["type"] == "/problems/quota"
    assert "1 times a minute" in body["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(limited.service.screener.judged) == BURST


def test_a_neighbour_is_unharmed(limited: Limited) -> None:
    """While one caller is refused again and again, every film of another is answered."""
    stop = threading.Event()
    statuses: list[int] = []

    def flood() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{limited.service.port}", timeout=30) as client:
            headers = {"Authorization": f"Bearer {limited.keys['few']}", "Content-Type": "image/png"}
            while not stop.is_set():
                statuses.append(client.post("/v1/score", content=png(), headers=headers).status_code)

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        answers = [limited.ask("many").status_code for _ in range(40)]
    finally:
        stop.set()
        flooding.join()
    assert answers == [200] * 40
    assert statuses.count(200) <= BURST
    assert set(statuses) <= {200, 429}


def test_two_keys_of_a_caller_share_its_quota_and_another_route_is_counted_too(limited: Limited) -> None:
    limited.keys["second"] = add_key(limited.file, "few", ["score"], quota=Quota(1, BURST))
    assert limited.ask("few").status_code == 200
    assert limited.ask("second").status_code == 200
    assert limited.ask("few", "GET", "/metrics").status_code == 200
    assert limited.ask("second").status_code == 429
    assert limited.ask("few", "GET", "/metrics").status_code == 429


def test_a_new_quota_holds_without_a_restart(limited: Limited) -> None:
    while limited.ask("few").status_code == 200:
        pass
    revoke_keys(limited.file, "few")
    limited.keys["few"] = add_key(limited.file, "few", ["score"], quota=Quota(60_000, BURST))
    statuses = [limited.ask("few").status_code for _ in range(20)]
    assert statuses[-1] == 200


def test_the_body_of_who_asks_too_much_is_not_read(limited: Limited) -> None:
    for _ in range(BURST):
        limited.ask("few")
    head = f"POST /v1/score HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {limited.keys['few']}\r\n"
    with socket.create_connection(("127.0.0.1", limited.service.port), timeout=30) as connection:
        connection.sendall((head + "Content-Type: image/png\r\nContent-Length: 99999\r\n\r\n").encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 429 ")


def test_instances_of_a_study_are_counted_one_by_one(limited: Limited) -> None:
    """A study that was begun is judged to its end, and the next request waits for what it cost."""
    headers = {"Authorization": f"Bearer {limited.keys['few']}", "Content-Type": CONTENT_TYPE}
    body = related([dicom(seed) for seed in range(BURST + 2)])
    answer = limited.service.client.post("/dicomweb/studies", content=body, headers=headers)
    assert answer.status_code == 200
    refused = limited.ask("few")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 60


def left(answer: httpx.Response) -> tuple[int, int, int, int]:
    """Quota, window, what is left, and the seconds until all is there again."""
    policy = re.fullmatch(r'"caller";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    now = re.fullmatch(r'"caller";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert policy
    assert now
    return int(policy[1]), int(policy[2]), int(now[1]), int(now[2])


def test_every_answer_says_what_is_left(limited: Limited) -> None:
    """One a minute, three at once: the bucket fills in three minutes."""
    ways = [("POST", "/v1/score", 200), ("GET", "/v1/versions", 403), ("POST", "/v1/explain?finding=Mass", 200)]
    for number, (method, path, status) in enumerate(ways, start=1):
        answer = limited.ask("few", method, path)
        assert answer.status_code == status
        quota, window, remaining, seconds = left(answer)
        assert (quota, window, remaining) == (BURST, 60 * BURST, BURST - number)
        assert 60 * number - 30 < seconds <= 60 * number  # a busy machine takes its time
    refused = limited.ask("few")
    assert refused.status_code == 429
    quota, window, remaining, seconds = left(refused)
    assert (quota, window, remaining) == (BURST, 60 * BURST, 0)
    assert int(refused.headers["retry-after"]) <= seconds <= 60 * BURST


def test_a_store_says_what_is_left_after_all_of_its_films(limited: Limited) -> None:
    headers = {"Authorization": f"Bearer {limited.keys['few']}", "Content-Type": CONTENT_TYPE}
    body = related([dicom(seed) for seed in range(BURST + 2)])
    answer = limited.service.client.post("/dicomweb/studies", content=body, headers=headers)
    _, window, remaining, seconds = left(answer)
    assert remaining == 0
    assert seconds > window  # it owes


def test_who_has_no_quota_and_who_is_nobody_is_told_of_none(accepting_bundle: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "callers.json", "pacs", ["score"])
    with told(accepting_bundle, keys_file=str(tmp_path / "callers.json")) as service:
        for headers in ({"Authorization": f"Bearer {key}"}, {}):
            answer = service.client.post("/v1/score", content=png(), headers={**headers, "Content-Type": "image/png"})
            assert not [name for name in answer.headers if name.startswith("ratelimit")]
