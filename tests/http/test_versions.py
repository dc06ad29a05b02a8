"""Versions over real sockets: under load, with broken bundles, and over kills and restarts."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from app.access import add_key
from app.cli import main
from app.pipeline import LABELS, Screener, Verdict, decode, film_tensor, read_bundle, torch_backend
from app.pipeline.bundle import read_manifest
from tests.support.asking import ANSWER_SECONDS
from tests.support.bundles import ACCEPT_EVERYTHING, random_network, simple_gaussian, write_random_bundle
from tests.support.films import png
from tests.support.processes import ROOT
from tests.support.served import Served, assert_problem, serve

CLIENTS = 8
FILMS = [png(seed) for seed in range(4)]


@dataclass(frozen=True)
class Bundles:
    """A folder of bundles, their versions, and what each must say of the films."""

    folder: Path
    first: Path
    second: Path
    broken: str
    unproven: str
    expected: dict[str, list[list[float]]]

    @property
    def names(self) -> tuple[str, str]:
        one, two = self.expected
        return one, two


def probabilities(folder: Path) -> list[list[float]]:
    bundle = read_bundle(folder)
    screener = Screener(bundle, torch_backend(bundle.network, torch.device("cpu")))
    verdicts = screener.screen(torch.cat([film_tensor(decode(film)) for film in FILMS]))
    told = [verdict.probabilities for verdict in verdicts if isinstance(verdict, Verdict)]
    return [[] if row is None else [float(value) for value in row] for row in told]


@pytest.fixture(scope="module")
def bundles(accepting_bundle: Path, rejecting_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("bundles")
    first = shutil.copytree(accepting_bundle, folder / "first")
    second = write_random_bundle(folder / "second", ACCEPT_EVERYTHING, seed=1)
    broken = shutil.copytree(rejecting_bundle, folder / "broken")
    network = broken / "network.safetensors"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)
    unproven = write_random_bundle(
        folder / "unproven", ACCEPT_EVERYTHING, seed=2, gaussian=simple_gaussian(random_network(3))
    )
    (folder / "notes").mkdir()
    (folder / ".second-half-copied").mkdir()
    versions = [read_manifest(each).model_version for each in (first, second, broken, unproven)]
    expected = {versions[0]: probabilities(first), versions[1]: probabilities(second)}
    apart = np.abs(np.subtract(*expected.values())).max(axis=1)
    assert (apart > 0.01).all()  # or the test below could not tell who judged
    return Bundles(folder, first, second, versions[2], versions[3], expected)


class Operated:
    """A service, asked by an operator."""

    def __init__(self, service: Served, key: str, score_key: str) -> None:
        self.service = service
        self.key = key
        self.operator = httpx.Client(
            base_url=service.client.base_url, timeout=ANSWER_SECONDS, headers={"Authorization": f"Bearer {key}"}
        )
        self.caller = {"Authorization": f"Bearer {score_key}"}

    def close(self) -> None:
        self.operator.close()

    def shadow(self, name: str) -> httpx.Response:
        return self.operator.post(f"/v1/versions/{name}/shadow")

    def promote(self, name: str) -> httpx.Response:
        return self.operator.post(f"/v1/versions/{name}/promote")

    def roll_back(self) -> httpx.Response:
        return self.operator.post("/v1/versions/rollback")

    def end_shadow(self) -> httpx.Response:
        return self.operator.delete("/v1/versions/shadow")

    def state(self) -> dict[str, Any]:
        return ok(self.operator.get("/v1/versions"))

    def score(self, film: bytes) -> dict[str, Any]:
        return ok(self.service.post(film, Authorization=self.caller["Authorization"]))

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.operator.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def roles(state: dict[str, Any]) -> dict[str, str]:
    """Role -> version, of those that have one."""
    return {each["role"]: each["model_version"] for each in state["versions"] if each["role"] != "idle"}


def compared(operated: Operated, films: int) -> dict[str, Any]:
    """The comparison, once there are so many films in it."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        comparison: dict[str, Any] = operated.state()["comparison"]
        if sum(each["films"] for each in comparison["films"]) >= films:
            return comparison
        assert time.monotonic() < end, comparison


def settings_in(folder: Path, bundles: Bundles) -> dict[str, str]:
    return {
        "CXR_BUNDLES": str(bundles.folder),
        "CXR_VERSIONS_FILE": str(folder / "active.json"),
        "CXR_KEYS_FILE": str(folder / "callers.json"),
        "CXR_RECORD_URL": f"sqlite:///{folder / 'record.sqlite'}",
        "CXR_RECORD_KEY_FILE": str(folder / "record.key"),
    }


def keys_in(folder: Path) -> tuple[str, str]:
    file = folder / "callers.json"
    return add_key(file, "ops", ["operate"]), add_key(file, "pacs", ["score"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def running(bundles: Bundles, folder: Path) -> Iterator[Operated]:
    keys = keys_in(folder)
    with (
        serve(bundles.first, folder / "log", **settings_in(folder, bundles)) as service,
        closing(Operated(service, *keys)) as operated,
    ):
        yield operated


@pytest.fixture
def operated(running: Operated, bundles: Bundles) -> Iterator[Operated]:
    """With the first version active, and no other one loaded, before and after."""
    yield running
    running.end_shadow()
    if running.service.get("/v1/model").json()["model_version"] != bundles.names[0]:
        ok(running.roll_back())


def test_no_request_is_lost_and_each_answer_is_of_one_version(
    operated: Operated, bundles: Bundles, folder: Path
) -> None:
    """Eight callers, one film after the other, while a version comes in, is promoted, and is rolled back."""
    first, second = bundles.names
    answers: list[tuple[float, float, int, dict[str, Any]]] = []  # asked, answered, film, answer
    changes = [(0.0, 0.0, first)]  # asked, answered, what was active then
    over = threading.Event()

    def caller(number: int) -> None:
        with httpx.Client(base_url=operated.service.client.base_url, timeout=ANSWER_SECONDS) as client:
            turn = number
            while not over.is_set():
                film, asked = turn % len(FILMS), time.monotonic()
                headers = {**operated.caller, "Content-Type": "image/png"}
                answer = ok(client.post("/v1/score", content=FILMS[film], headers=headers))
                answers.append((asked, time.monotonic(), film, answer))
                turn += 1

    def go_on() -> None:
        """Until some more films were answered."""
        until, end = len(answers) + 2 * CLIENTS, time.monotonic() + ANSWER_SECONDS
        while len(answers) < until:
            assert time.monotonic() < end
            assert not any(future.done() for future in futures)
            time.sleep(0.01)

    def change(action: Callable[[], httpx.Response], name: str) -> None:
        go_on()
        asked = time.monotonic()
        assert roles(ok(action()))["active"] == name
        changes.append((asked, time.monotonic(), name))

    with ThreadPoolExecutor(CLIENTS) as pool:
        futures = [pool.submit(caller, number) for number in range(CLIENTS)]
        try:
            go_on()
            assert roles(ok(operated.shadow(second))) == {"active": first, "shadow": second}
            change(partial(operated.promote, second), second)
            change(partial(operated.promote, first), first)  # the previous one, by its name
            change(partial(operated.promote, second), second)
            change(operated.roll_back, first)
            go_on()
        finally:
            over.set()
    for future in futures:
        future.result()

    for asked, answered, film, answer in answers:
        told = [answer["probabilities"][label] for label in LABELS]
        assert told == pytest.approx(bundles.expected[answer["model_version"]][film], abs=1e-3)
        active = [name for _, done, name in changes if done <= asked][-1:]
        meanwhile = [name for began, done, name in changes if began < answered and done > asked]
        assert answer["model_version"] in active + meanwhile
    by_version = Counter(answer["model_version"] for *_, answer in answers)
    assert set(by_version) == {first, second}

    with closing(sqlite3.connect(f"file:{folder / 'record.sqlite'}?mode=ro", uri=True)) as record:
        entries = dict(record.execute("SELECT request_id, model_version FROM entries").fetchall())
    for *_, answer in answers:
        assert entries[answer["request_id"]] == answer["model_version"]
    for name, count in by_version.items():
        labels = f'decision="accepted",model_version="{name}",reason="none",source_kind="png"'
        assert operated.metric(f"cxr_decisions_total{{{labels}}}") == count


def test_the_list_names_every_bundle_its_role_and_what_is_wrong_with_it(operated: Operated, bundles: Bundles) -> None:
    first, second = bundles.names
    listed = {each["folder"]: each for each in operated.state()["versions"]}
    assert set(listed) == {"first", "second", "broken", "unproven", "notes"}
    assert [listed[name]["model_version"] for name in ("first", "second", "broken")] == [first, second, bundles.broken]
    assert [name for name, each in listed.items() if each["verified"]] == ["first", "second", "unproven"]
    assert "network.safetensors has another SHA-256" in listed["broken"]["reason"]
    assert "holds no manifest.json" in listed["notes"]["reason"]
    assert listed["notes"]["model_version"] is None
    assert {name: each["role"] for name, each in listed.items() if each["role"] != "idle"} == {"first": "active"}


def test_a_bundle_that_does_not_verify_or_prove_itself_is_refused_and_serving_goes_on(
    operated: Operated, bundles: Bundles
) -> None:
    before = operated.state()
    for name, reason in ((bundles.broken, "has another SHA-256"), (bundles.unproven, "golden log densities")):
        refused = operated.shadow(name)
        problem = assert_problem(refused, 503)
        assert problem["type"] == "/problems/version-refused"
        assert reason in problem["detail"]
        assert "retry-after" not in refused.headers  # it does not pass by itself
        assert operated.score(FILMS[0])["model_version"] == bundles.names[0]
        assert_problem(operated.promote(name), 409)
    assert operated.state()["versions"] == before["versions"]


@pytest.mark.parametrize("name", ["none", "second", "..%2Fsecond", "%2Fetc%2Fpasswd", "densenet121-mgm-000000000000"])
def test_only_versions_name_bundles_never_paths(operated: Operated, name: str) -> None:
    assert_problem(operated.shadow(name), 404)
    assert_problem(operated.promote(name), 404)


def test_each_step_needs_the_one_before_and_asking_twice_changes_nothing(operated: Operated, bundles: Bundles) -> None:
    first, second = bundles.names
    assert_problem(operated.promote(second), 409)
    assert_problem(operated.roll_back(), 409)
    assert_problem(operated.shadow(first), 409)
    assert roles(ok(operated.end_shadow())) == {"active": first}
    for _ in range(2):
        assert roles(ok(operated.shadow(second))) == {"active": first, "shadow": second}
    assert_problem(operated.shadow(bundles.unproven), 409)  # one shadow at a time
    described = operated.service.get("/v1/model").json()
    assert (described["model_version"], described["shadow"]) == (first, second)
    for _ in range(2):
        assert roles(ok(operated.promote(second))) == {"active": second, "previous": first}
    described = operated.service.get("/v1/model").json()
    assert (described["model_version"], described["shadow"]) == (second, None)
    assert_problem(operated.shadow(first), 409)
    assert roles(ok(operated.roll_back())) == {"active": first}
    assert_problem(operated.roll_back(), 409)  # and not forward again to what was bad
    assert_problem(operated.promote(second), 409)


def test_the_shadow_is_compared_with_every_film_that_was_answered(operated: Operated, bundles: Bundles) -> None:
    first, second = bundles.names
    before = operated.metric(
        f'cxr_shadow_decisions_total{{active="accepted",shadow="accepted",shadow_version="{second}"}}'
    )
    assert all(each["films"] == 0 for each in ok(operated.shadow(second))["comparison"]["films"])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(operated.score, FILMS * 5))
        assert_problem(operated.service.post(b"no film", Authorization=operated.caller["Authorization"]), 400)
    # one of them was judged already: a heatmap of it is not to be compared
    explained = operated.service.client.post("/v1/explain?finding=Mass", content=FILMS[0], headers=operated.caller)
    assert explained.status_code == 200
    films = 5 * len(FILMS)
    comparison = compared(operated, films)
    counts = {(each["active"], each["shadow"]): each["films"] for each in comparison["films"]}
    assert counts.pop(("accepted", "accepted")) == films
    assert not any(counts.values())
    assert (comparison["shadow"], comparison["active"], comparison["ended"]) == (second, first, None)
    assert (comparison["dropped"], comparison["errors"]) == (0, 0)
    apart = float(np.abs(np.subtract(*bundles.expected.values())).max())
    assert comparison["largest_probability_difference"] == pytest.approx(apart, abs=1e-3)
    name = f'cxr_shadow_decisions_total{{active="accepted",shadow="accepted",shadow_version="{second}"}}'
    assert operated.metric(name) - before == films
    ended = ok(operated.end_shadow())
    assert roles(ended) == {"active": first}
    assert ended["comparison"]["ended"]


def test_what_operators_did_is_logged_with_their_names(operated: Operated, bundles: Bundles) -> None:
    second = bundles.names[1]
    ok(operated.shadow(second))
    ok(operated.promote(second))
    ok(operated.roll_back())
    lines = [json.loads(line) for line in operated.service.logged().splitlines() if line.startswith("{")]
    told = [(line["message"], line["model_version"]) for line in lines if line.get("caller") == "ops"]
    assert told[-3:] == [
        ("a version runs in shadow", second),
        ("a version was promoted", second),
        (f"rolled back from {second}", bundles.names[0]),
    ]


def test_what_operators_do_is_in_the_record_and_verifies(
    operated: Operated, bundles: Bundles, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once, however often it is asked for, and nothing of what was refused; among the decisions, in one chain."""
    first, second = bundles.names
    before = entries_of_versions(folder)
    answers = [operated.promote(second), operated.roll_back()]
    assert [answer.status_code for answer in answers] == [409, 409]
    for action in (
        partial(operated.shadow, second),
        partial(operated.shadow, second),
        operated.end_shadow,
        operated.end_shadow,
        partial(operated.shadow, second),
        partial(operated.promote, second),
        partial(operated.promote, second),
        operated.roll_back,
    ):
        answers.append(action())
        ok(answers[-1])
        operated.score(FILMS[0])
    done = [answers[number] for number in (2, 4, 6, 7, 9)]
    routes = ["{model_version}/shadow", "shadow", "{model_version}/shadow", "{model_version}/promote", "rollback"]
    expected = [
        ("shadowed", second, f"active until then: {first}"),
        ("withdrawn", second, f"active until then: {first}"),
        ("shadowed", second, f"active until then: {first}"),
        ("promoted", second, f"active until then: {first}"),
        ("rolledback", first, f"active until then: {second}"),
    ]
    assert entries_of_versions(folder)[len(before) :] == [
        (*what, "ops", answer.headers["X-Request-ID"], f"/v1/versions/{route}")
        for what, answer, route in zip(expected, done, routes, strict=True)
    ]
    settings = settings_in(folder, bundles)
    verify = ["verify-record", "--url", settings["CXR_RECORD_URL"], "--key-file", settings["CXR_RECORD_KEY_FILE"]]
    assert main(verify) == 0, capsys.readouterr()
    with closing(sqlite3.connect(folder / "record.sqlite")) as connection:  # another name for who promoted it
        (number,) = connection.execute("SELECT max(id) FROM entries WHERE kind = 'promoted'").fetchone()
        connection.execute("UPDATE entries SET caller = 'nobody' WHERE id = ?", [number])
        connection.commit()
        forged = main(verify)
        connection.execute("UPDATE entries SET caller = 'ops' WHERE id = ?", [number])
        connection.commit()
    assert forged == 1
    assert f"entry {number} was changed or forged" in "".join(capsys.readouterr())


def test_what_cannot_be_written_to_the_record_is_not_done(operated: Operated, bundles: Bundles, folder: Path) -> None:
    first, second = bundles.names
    ok(operated.shadow(second))
    with closing(sqlite3.connect(folder / "record.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # somebody holds the database
        refused = assert_problem(operated.promote(second), 503)
        connection.execute("ROLLBACK")
    assert refused["type"] == "/problems/record-unavailable"
    assert roles(operated.state()) == {"active": first, "shadow": second}
    assert operated.score(FILMS[0])["model_version"] == first
    assert roles(ok(operated.promote(second))) == {"active": second, "previous": first}


def entries_of_versions(folder: Path) -> list[tuple[str, ...]]:
    """What the record says that operators did, in order."""
    query = (
        "SELECT kind, model_version, reason, caller, request_id, route FROM entries "
        "WHERE kind IN ('shadowed', 'promoted', 'rolledback', 'withdrawn') ORDER BY id"
    )
    with closing(sqlite3.connect(f"file:{folder / 'record.sqlite'}?mode=ro", uri=True)) as record:
        return record.execute(query).fetchall()


def test_the_steps_of_the_document(operated: Operated, bundles: Bundles) -> None:
    """docs/versions.md: its commands, one after the other."""
    first, second = bundles.names
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "versions.md").read_text(), re.DOTALL)
    named = {"URL": str(operated.service.client.base_url).rstrip("/"), "KEY": operated.key, "NEW": second}
    told = []
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euc", block], env={**os.environ, **named}, capture_output=True, text=True, timeout=60, check=True
        )
        told.append(roles(json.loads(done.stdout)))
    shadowed, promoted = {"active": first, "shadow": second}, {"active": second, "previous": first}
    assert told == [{"active": first}, shadowed, shadowed, promoted, {"active": first}]


# Over the end of the process.


def killed_and_started_again(bundles: Bundles, folder: Path, delay: float | None) -> None:
    """Kill while a promotion is under way, `delay` after it was asked for, or once it was answered (None)."""
    first, second = bundles.names
    settings = {**settings_in(folder, bundles), "CXR_MAX_BATCH": "1"}  # which starts sooner
    keys = keys_in(folder)
    with serve(bundles.first, folder / "log", **settings) as service, closing(Operated(service, *keys)) as operated:
        ok(operated.shadow(second))
        asked = threading.Thread(target=promote_into, args=(operated, second, answers := []))
        asked.start()
        if delay is None:
            asked.join()
        else:
            time.sleep(delay)
        service.process.kill()
        asked.join()
        service.process.wait()
    with serve(bundles.first, folder / "log", **settings) as service, closing(Operated(service, *keys)) as operated:
        state = roles(operated.state())
        assert state in ({"active": first}, {"active": second, "previous": first})
        if answers:
            assert state["active"] == second
        assert operated.score(FILMS[0])["model_version"] == state["active"]
        if state["active"] == second:
            assert roles(ok(operated.roll_back())) == {"active": first}
            assert operated.score(FILMS[0])["model_version"] == first


def promote_into(operated: Operated, name: str, answers: list[int]) -> None:
    try:
        answers.append(operated.promote(name).status_code)
    except httpx.TransportError:
        return
    assert answers == [200]


def test_what_was_promoted_is_served_after_a_kill_and_can_be_rolled_back(bundles: Bundles, tmp_path: Path) -> None:
    killed_and_started_again(bundles, tmp_path, None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_kill_while_it_is_promoted_leaves_the_one_or_the_other(bundles: Bundles, tmp_path: Path, seed: int) -> None:
    killed_and_started_again(bundles, tmp_path, random.Random(seed).uniform(0, 0.02))
