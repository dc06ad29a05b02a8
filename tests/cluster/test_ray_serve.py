"""Two replicas on a Ray cluster of this machine: they answer as one process does, and lose nothing when one is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from app.pipeline import Screener, Verdict, decode, film_tensor, read_bundle, torch_backend
from tests.decoding.processes import small_film
from tests.support.asking import ANSWER_SECONDS
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import dicom, encoded, jpeg, pixels, png
from tests.support.served import Served, assert_accepted, assert_problem, read_answer, request_head, serve

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'cxr-gate[ray]'")

from tests.cluster.served import Cluster, serve_cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

MAX_WAITING = 68  # and as many in the proxy's queue
ONE_CALLER = 51  # of those places, three quarters: the 50 of a test all find room, be there one replica or two
MAX_BODY_BYTES = 4 * 2**20
SETTINGS = {
    "CXR_MAX_WAITING": str(MAX_WAITING),
    "CXR_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "CXR_DEADLINE_SECONDS": "60",
}
FILMS = [png(seed) for seed in range(8)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its gate accepts half of the films."""
    folder = tmp_path_factory.mktemp("bundle")
    everything = read_bundle(write_random_bundle(folder / "all", ACCEPT_EVERYTHING))
    judged = Screener(everything, torch_backend(everything.network, torch.device("cpu"))).screen(_tensors())
    scores = sorted(verdict.log_density for verdict in judged if isinstance(verdict, Verdict))
    middle = len(FILMS) // 2
    return write_random_bundle(folder / "half", (scores[middle - 1] + scores[middle]) / 2)


def _tensors() -> Any:
    import torch

    return torch.cat([film_tensor(decode(film)) for film in FILMS])


@pytest.fixture(scope="module")
def cluster(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    scaling = {"min_replicas": 2, "max_replicas": 2}
    with serve_cluster(bundle, tmp_path_factory.mktemp("cluster"), scaling, **SETTINGS) as served:
        yield served


def _known(answer: httpx.Response) -> tuple[int, str, Any]:
    """What must be the same whoever answers: status, media type, and the body but for the request's id."""
    body = {name: value for name, value in answer.json().items() if name not in {"request_id", "instance"}}
    return answer.status_code, answer.headers["content-type"], body


def test_answers_are_those_of_one_process_to_the_bit(bundle: Path, cluster: Cluster, tmp_path: Path) -> None:
    sent = [
        *((film, "image/png") for film in FILMS),
        (jpeg(), "image/jpeg"),
        (dicom(), "application/dicom"),
        (small_film(), "application/dicom"),  # compressed: decoded in a process of its own
        (dicom(ViewPosition="LL"), "application/dicom"),
        (png()[:500], "image/png"),
        (png(), "image/jpeg"),
        (png(), "text/plain"),
        (png().ljust(MAX_BODY_BYTES + 1, b"\0"), "image/png"),
    ]
    with serve(bundle, tmp_path / "log", **SETTINGS) as one:
        expected = [_known(one.post(*film)) for film in sent]
        pages = {path: _known(one.get(path)) for path in ("/v1/model", "/healthz", "/readyz", "/nothing")}
    assert {status for status, _, _ in expected} == {200, 400, 413, 415, 422}
    for _ in range(3):  # by either replica
        answers = [cluster.post(*film) for film in sent]
        assert [_known(answer) for answer in answers] == expected
        for answer in answers:
            assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert {path: _known(cluster.get(path)) for path in pages} == pages
    judged = cluster.metric("cxr_decisions_total")
    assert len(judged) == 2, "one replica answered everything"
    assert all(count > 0 for count in judged.values())


def _post_at_once(cluster: Served, films: list[bytes]) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=len(films))
    base = f"http://127.0.0.1:{cluster.port}"
    with (
        httpx.Client(base_url=base, timeout=ANSWER_SECONDS, limits=limits) as client,
        ThreadPoolExecutor(len(films)) as pool,
    ):
        headers = {"Content-Type": "image/png"}
        return list(pool.map(lambda film: client.post("/v1/score", content=film, headers=headers), films))


def test_many_at_once_agree_with_one_at_a_time(cluster: Cluster) -> None:
    """Batches round otherwise, here by some 1e-7."""
    alone = [cluster.post(film) for film in FILMS]
    for answer, other in zip(_post_at_once(cluster, FILMS * 4), alone * 4, strict=True):
        assert answer.status_code == other.status_code
        if answer.status_code == 200:
            probabilities = [np.array(list(one.json()["probabilities"].values())) for one in (answer, other)]
            np.testing.assert_allclose(*probabilities, atol=1e-5)


@pytest.mark.parametrize("moment", [0.05, 0.5], ids=["bodies-under-way", "films-in-batches"])
def test_a_killed_replica_loses_no_request(cluster: Cluster, moment: float) -> None:
    films = [FILMS[index % len(FILMS)] for index in range(50)]
    alone = [cluster.post(film).status_code for film in FILMS]
    cluster.await_replicas(2)
    victim, _ = cluster.replicas()
    kill = threading.Timer(moment, os.kill, (victim, signal.SIGKILL))
    kill.start()
    answers = _post_at_once(cluster, films)
    kill.join()
    assert victim not in cluster.replicas()
    for index, answer in enumerate(answers):
        if answer.status_code == 503:
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        else:
            assert answer.status_code == alone[index % len(FILMS)]
    refused = [answer.json()["detail"] for answer in answers if answer.status_code == 503]
    assert not refused, "one replica has room for all that were sent"
    cluster.await_replicas(2)


def test_without_any_replica_requests_wait_for_the_next(cluster: Cluster) -> None:
    for replica in cluster.replicas():
        os.kill(replica, signal.SIGKILL)
    statuses = Counter(answer.status_code for answer in _post_at_once(cluster, FILMS))
    assert set(statuses) <= {200, 422, 503}
    cluster.await_replicas(2)


def test_overload_is_503_with_retry_after_and_passes(cluster: Cluster) -> None:
    films = [encoded(Image.fromarray(pixels(side=1024)))] * (6 * ONE_CALLER)
    answers = _post_at_once(cluster, films)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 422, 503}
    assert statuses[503] > 0
    assert len(answers) - statuses[503] >= 2 * ONE_CALLER, (
        "less was admitted than the replicas have places for one caller"
    )
    for answer in answers:
        if answer.status_code == 503:
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
    assert cluster.post(FILMS[0]).status_code in {200, 422}


def test_a_declared_length_over_the_limit_is_refused_unread(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        connection.sendall(request_head(10**10) + png()[:100])  # the rest never comes
        status, headers, body = read_answer(connection)
    assert (status, headers["content-type"]) == (413, "application/problem+json")
    assert headers["x-request-id"] == json.loads(body)["request_id"]


def test_a_chunked_body_over_the_limit_is_refused_before_its_end(cluster: Cluster) -> None:
    chunk = b"%x\r\n%s\r\n" % (2**20, png().ljust(2**20, b"\0"))
    with cluster.connect() as connection:
        connection.sendall(request_head(None) + chunk * 5)  # and no last chunk
        status, headers, _ = read_answer(connection)
    assert (status, headers["content-type"]) == (413, "application/problem+json")


def test_a_form_and_a_chunked_body_are_served(cluster: Cluster) -> None:
    accepted = next(film for film in FILMS if cluster.post(film).status_code == 200)
    assert_accepted(cluster.client.post("/v1/score", files={"file": ("a.png", accepted, "image/png")}))
    parts = (accepted[at : at + 1000] for at in range(0, len(accepted), 1000))
    assert_accepted(cluster.client.post("/v1/score", content=parts, headers={"Content-Type": "image/png"}))


@pytest.mark.parametrize("when", ["in-the-body", "before-the-answer"])
def test_a_client_that_hangs_up_harms_nobody(cluster: Cluster, when: str) -> None:
    data = png()
    request = request_head(len(data)) + data
    length = {"in-the-body": len(request) // 2, "before-the-answer": len(request)}[when]
    with ThreadPoolExecutor(4) as pool:
        neighbours = [pool.submit(cluster.post, film) for film in FILMS[:4]]
        for _ in range(10):
            with cluster.connect() as connection:
                connection.sendall(request[:length])
        assert {neighbour.result().status_code for neighbour in neighbours} <= {200, 422}
    left = "a request of a client that left still counts as waiting"
    eventually(lambda: not sum(cluster.metric("cxr_waiting_requests").values()), 20, lambda: left)


def test_nothing_of_a_request_is_in_rays_logs(cluster: Cluster) -> None:
    uid, name = "1.2.826.0.1.3680043.8.498.4242", "Doe^Janet"
    boundary = "b" * 20
    film = dicom(StudyInstanceUID=uid, PatientName=name)
    body = (
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + film + f"\r\n--{boundary}--\r\n".encode()
    )
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {"Content-Type": kind, "X-Request-ID": name}
    assert cluster.client.post(f"/dicomweb/studies/{uid}", content=body, headers=headers).status_code in {200, 202, 409}
    with cluster.connect() as connection:
        caller = ":".join(map(str, connection.getsockname()))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_answer(connection)[0] == 200
    request_id = cluster.get("/healthz").headers["x-request-id"]
    eventually(lambda: request_id in _all_logs(cluster), 20, lambda: "the answers are not in the logs", pause=0.2)
    logs = _all_logs(cluster)
    for secret in (uid, name, caller):
        assert secret not in logs
    assert not re.search(r"GET /|POST /", logs)


def _all_logs(cluster: Cluster) -> str:
    files = [path for path in cluster.folder.rglob("logs/**/*") if path.is_file()]
    return "".join(path.read_text(errors="replace") for path in [*files, cluster.log])


def test_replicas_come_with_requests_and_go_without_harm(bundle: Path, tmp_path: Path) -> None:
    at_once = {"upscale_delay_s": 1, "downscale_delay_s": 1, "look_back_period_s": 2, "target_ongoing_requests": 4}
    request = request_head(len(FILMS[0])) + FILMS[0]
    patient = {**SETTINGS, "CXR_DEADLINE_SECONDS": "120"}
    with serve_cluster(bundle, tmp_path, {"min_replicas": 1, "max_replicas": 2, **at_once}, **patient) as cluster:
        expected = cluster.post(FILMS[0]).status_code
        with ExitStack() as connections:
            slow = [connections.enter_context(cluster.connect()) for _ in range(12)]
            for connection in slow:
                connection.sendall(request[:-100])  # with a replica, and not to be answered yet
            cluster.await_replicas(2)
            for connection in slow[2:]:
                connection.sendall(request[-100:])
                assert read_answer(connection)[0] == expected
            later = connections.enter_context(cluster.connect())
            later.sendall(request[:-100])
            eventually(lambda: "Removing 1 replica" in cluster.logged(), 60, cluster.logged, pause=0.2)
            for connection in (*slow[:2], later):
                connection.sendall(request[-100:])
                assert read_answer(connection)[0] == expected
        cluster.await_replicas(1)


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray's, when it is imported
def test_a_replica_without_the_proxys_part_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.cluster.ray_proxy import CALLBACK_VARIABLE
    from app.cluster.ray_serve import _application, build
    from app.settings import SettingsError

    monkeypatch.delenv(CALLBACK_VARIABLE, raising=False)
    with pytest.raises(SettingsError, match=CALLBACK_VARIABLE):
        _application()
    with pytest.raises(SettingsError, match="replicas"):
        build({"replicas": "3"})
    monkeypatch.setenv("CXR_BUNDLES", "bundles")
    with pytest.raises(SettingsError, match="CXR_BUNDLES"):
        build({})
