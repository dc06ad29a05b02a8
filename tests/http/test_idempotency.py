"""Idempotency-Key over real sockets: a retry is the same decision, and a key is for one film of one caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.access import add_key
from app.http.idempotency import KEPT_SECONDS, FilmsOfKeys
from app.http.problems import HttpError
from tests.http.test_flow import film
from tests.support.films import png
from tests.support.reviewing import Keeping, Site, keeping
from tests.support.served import assert_problem
from tests.support.told import Told, told

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.fixture
def service(accepting_bundle: Path, tmp_path: Path) -> Iterator[Told]:
    with told(
        accepting_bundle,
        record_url=f"sqlite:///{tmp_path}/record.sqlite",
        record_key_file=tmp_path / "record.key",
        keys_file=str(callers(tmp_path)),
    ) as service:
        yield service


KEYS: dict[str, str] = {}


def callers(folder: Path) -> Path:
    file = folder / "callers.json"
    KEYS.update({name: add_key(file, name, ["score"]) for name in ("pacs", "ward")})
    return file


def post(service: Told, mark: int, key: str | None, caller: str = "pacs", path: str = "/v1/score") -> httpx.Response:
    headers = {"Content-Type": "image/png", "Authorization": f"Bearer {KEYS[caller]}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return service.client.post(path, content=film(mark), headers=headers)


def kinds(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "record.sqlite")
    try:
        return [kind for (kind,) in connection.execute("SELECT kind FROM entries ORDER BY id")]
    finally:
        connection.close()


def test_a_retry_is_the_same_decision_and_is_judged_once(service: Told, tmp_path: Path) -> None:
    answers = [post(service, 40, key) for key in (KEY, KEY, f'"{KEY}"')]
    assert [answer.status_code for answer in answers] == [200] * 3
    first, *retries = [answer.json() for answer in answers]
    for retry in retries:
        assert {**retry, "request_id": first["request_id"]} == first
    assert service.screener.judged == [40]
    assert kinds(tmp_path) == ["judged", "repeated", "repeated"]


def test_without_a_key_every_film_is_judged(service: Told) -> None:
    for _ in range(2):
        assert post(service, 40, None).status_code == 200
    assert service.screener.judged == [40, 40]


def test_two_at_the_same_moment_are_judged_once(service: Told) -> None:
    service.screener.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(post, service, 50, KEY) for _ in range(4)]
        assert service.screener.entered.wait(30)
        service.screener.gate.set()
        assert [one.result().status_code for one in sent] == [200] * 4
    assert service.screener.judged == [50]


def test_a_key_is_for_one_film_of_one_caller(service: Told) -> None:
    assert post(service, 40, KEY).status_code == 200
    body = assert_problem(post(service, 41, KEY), 409)
    assert body["type"] == "/problems/idempotency-key-reused"
    assert service.screener.judged == [40]
    assert post(service, 41, KEY, "ward").status_code == 200  # who cannot learn by it what another sent
    assert post(service, 41, "another").status_code == 200
    assert post(service, 40, KEY).status_code == 200


def test_a_film_that_could_not_be_judged_can_be_tried_again(service: Told) -> None:
    usual = service.screener.rule

    def poisonous(marks: list[int]) -> None:
        raise RuntimeError("CUDA error")

    service.screener.rule = poisonous
    assert assert_problem(post(service, 42, KEY), 503)["type"] == "/problems/inference-failed"
    service.screener.rule = usual
    assert post(service, 42, KEY).status_code == 200
    assert service.screener.judged == [42]


@pytest.mark.parametrize("key", ["", '""', "a b", 'a"b', '"a', "a" * 256, "a\\b"])
def test_what_is_no_key_is_refused(service: Told, key: str) -> None:
    assert "Idempotency-Key" in assert_problem(post(service, 40, key), 400)["detail"]
    assert service.screener.judged == []


def test_a_key_and_a_heatmap_do_not_go_together(service: Told) -> None:
    assert "heatmap" in assert_problem(post(service, 40, KEY, path="/v1/score?heatmap=Mass"), 400)["detail"]


@pytest.fixture
def kept(rejecting_bundle: Path, tmp_path: Path) -> Iterator[Keeping]:
    with keeping(Site.make(tmp_path), rejecting_bundle) as kept:
        yield kept


def test_a_rejected_film_is_kept_once_and_every_retry_says_where(kept: Keeping) -> None:
    headers = {"Authorization": f"Bearer {kept.site.keys['pacs']}", "Content-Type": "image/png", "Idempotency-Key": KEY}
    answers = [kept.client.post("/v1/score", content=png(), headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422] * 3
    first = answers[0].json()["request_id"]
    assert {answer.headers["link"] for answer in answers} == {f'</v1/results/{first}>; rel="related"'}
    review = {"Authorization": f"Bearer {kept.site.keys['dr.b']}"}
    assert [film["id"] for film in kept.client.get("/v1/quarantine", headers=review).json()["films"]] == [first]


# What is remembered.


def test_what_a_key_was_used_for_is_forgotten_after_a_day() -> None:
    now = 0.0
    films = FilmsOfKeys(lambda: now)
    films.use("pacs", KEY, b"one")
    now = KEPT_SECONDS - 1
    with pytest.raises(HttpError):
        films.use("pacs", KEY, b"another")
    now = KEPT_SECONDS + 1
    films.use("pacs", KEY, b"another")


def test_very_many_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.idempotency.MOST_KEYS", 10)
    films = FilmsOfKeys(lambda: 0.0)
    for number in range(100):
        films.use("pacs", str(number), b"one")
    assert len(films._films) == 10
    with pytest.raises(HttpError):
        films.use("pacs", "99", b"another")
    films.use("pacs", "0", b"another")  # long forgotten
