"""Killed at random moments under all kinds of traffic: record and quarantine agree, and nothing that was answered is lost."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom.uid import generate_uid

from app.pipeline import Screener, read_bundle, to_tensor
from app.pipeline.backends.torch_cpu import TorchCpu
from app.quarantine import QuarantineKeys, Vault
from app.records import open_record
from tests.http.stowing import CONTENT_TYPE, related
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import dicom, pixels, png
from tests.support.reviewing import KEY, Keeping, Site, keeping
from tests.support.waiting import eventually

SEEDS = range(12)
#: So little that films are pushed out while others are looked at.
LIMITS = {"CXR_QUARANTINE_MB": "2", "CXR_MAX_BODY_BYTES": str(2**20)}


@pytest.fixture(scope="module")
def choosing_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rejects half of the films."""
    folder = tmp_path_factory.mktemp("choosing")
    bundle = read_bundle(write_random_bundle(folder / "all", ACCEPT_EVERYTHING))
    screener = Screener(bundle, TorchCpu(bundle.network))
    films = [to_tensor(pixels(seed).astype(np.float32) / 255) for seed in SEEDS]
    densities = [float(bundle.gate.log_density(screener.outputs(film).gate_features)[0]) for film in films]
    return write_random_bundle(folder / "half", float(np.median(densities)))


class Traffic:
    """Senders and reviewers, until the service is gone; keeps what was answered whole."""

    def __init__(self, kept: Keeping) -> None:
        self.recorded: list[str] = []  # request ids
        self.rejected: dict[str, bytes] = {}
        self.decided: dict[str, str] = {}
        self.given: list[str] = []
        self.begun = threading.Event()
        self._kept = kept
        clients: list[Callable[[Keeping], None]] = [
            self._score,
            self._score,
            self._explain,
            self._store,
            self._review,
            self._fetch,
        ]
        self._pool = ThreadPoolExecutor(len(clients))
        self._ending = [self._pool.submit(self._client, number, act) for number, act in enumerate(clients)]

    def _client(self, number: int, act: Callable[[Keeping], None]) -> None:
        with httpx.Client(base_url=self._kept.client.base_url, timeout=60) as client:
            kept = Keeping(client, self._kept.site)
            try:
                while True:
                    act(kept)
            except httpx.TransportError:
                pass

    def _note(self, film: bytes, answer: httpx.Response, statuses: set[int]) -> None:
        assert answer.status_code in statuses, answer.text
        request_id = answer.headers["x-request-id"]
        if answer.status_code == 422:
            self.rejected[request_id] = film
            self.begun.set()
        self.recorded.append(request_id)

    def _score(self, kept: Keeping) -> None:
        film = png(random.choice(SEEDS))
        self._note(film, kept.score(film), {200, 422})

    def _explain(self, kept: Keeping) -> None:
        film = dicom(random.choice(SEEDS))
        self._note(film, kept.score(film, "application/dicom", path="/v1/explain?finding=Mass"), {200, 422})

    def _store(self, kept: Keeping) -> None:
        films = [dicom(random.choice(SEEDS), SOPInstanceUID=generate_uid()) for _ in range(3)]
        body, headers = related(films), {"Content-Type": CONTENT_TYPE}
        answer = kept.ask("pacs", "POST", "/dicomweb/studies", content=body, headers=headers)
        self._note(b"", answer, {200, 202, 409})
        for item in answer.json().get("00081198", {}).get("Value", []):
            film_id = item["00991011"]["Value"][0]
            self.rejected[film_id] = films[int(film_id.split("-")[1]) - 1]

    def _review(self, kept: Keeping) -> None:
        for film_id in kept.listed("?state=pending&limit=3"):
            assert kept.get(f"/v1/quarantine/{film_id}/film?original=true").status_code in {200, 404}
            decision = random.choice(["release", "confirm"])
            answer = kept.decide(film_id, decision)
            assert answer.status_code in {200, 404}, answer.text
            if answer.status_code == 200:
                self.decided[film_id] = answer.json()["state"]

    def _fetch(self, kept: Keeping) -> None:
        for film_id in kept.listed("?state=released&limit=3"):
            answer = kept.get(f"/v1/results/{film_id}", "pacs")
            assert answer.status_code in {200, 404}, answer.text
            if answer.status_code == 200:
                self.given.append(answer.headers["x-request-id"])

    def ended(self) -> None:
        for each in self._ending:
            each.result(timeout=60)
        self._pool.shutdown()


def agree(site: Site, traffics: list[Traffic]) -> None:
    """With the service up again: the folder is what the record says, and both have all that was answered."""
    assert site.verifies()
    record = open_record(site.settings["CXR_RECORD_URL"], site.folder / "record.key")
    films = record.films()
    record.close()
    here = {film_id for film_id, film in films.items() if film.state != "removed"}
    assert site.files() == sorted(f"{film_id}.film" for film_id in here)  # and nothing unfinished
    vault = Vault(site.films, QuarantineKeys(KEY))
    for film_id in here:
        vault.read(film_id, films[film_id].model_version)
    recorded = {entry["request_id"] for entry in site.entries()}
    for traffic in traffics:
        assert not set(traffic.recorded) - recorded
        for film_id, film in traffic.rejected.items():
            assert film_id in films
            if film_id in here:
                assert vault.read(film_id, films[film_id].model_version)[1] == film
        for film_id, state in traffic.decided.items():
            decision = films[film_id].decision
            assert decision is not None
            assert decision.kind == state
        assert not set(traffic.given) - {entry["request_id"] for entry in site.entries("kind = 'answered'")}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_nothing_that_was_answered_is_lost(
    choosing_bundle: Path, tmp_path: Path, seed: int
) -> None:
    site, chance = Site.make(tmp_path), random.Random(seed)
    traffics: list[Traffic] = []
    orphans = 0
    for _ in range(25):
        with keeping(site, choosing_bundle, **LIMITS) as kept:
            orphans += int(re.findall(r'"set_aside": (\d+)', site.log.read_text())[0])
            agree(site, traffics)
            traffic = Traffic(kept)
            assert traffic.begun.wait(60)
            time.sleep(chance.uniform(0, 2))  # the moment is the test
            assert kept.service is not None
            kept.service.kill()
            traffic.ended()
            traffics.append(traffic)
    with keeping(site, choosing_bundle, **LIMITS):
        agree(site, traffics)
    kinds = {entry["kind"] for entry in site.entries()}
    assert kinds == {"judged", "viewed", "released", "confirmed", "answered", "removed"}  # all of it was met
    counts = {
        name: sum(len(getattr(each, name)) for each in traffics)
        for name in ("recorded", "rejected", "decided", "given")
    }
    print(counts, f"{orphans} orphans", {kind: len(site.entries("kind = ?", kind)) for kind in kinds})
    assert min(counts.values()) > 25


@pytest.mark.slow
def test_killed_between_the_film_and_its_entry_there_is_neither(choosing_bundle: Path, tmp_path: Path) -> None:
    """The moment that chance rarely finds: the record is held, so the film is on the disk and its entry waits."""
    site = Site.make(tmp_path)
    with keeping(site, choosing_bundle) as kept, ThreadPoolExecutor(len(SEEDS)) as pool:
        holder = sqlite3.connect(site.folder / "record.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        answers = [pool.submit(kept.score, png(seed)) for seed in SEEDS]
        # Whole, and not in the writing; the record gives up after five seconds.
        eventually(lambda: sum(name.endswith(".film") for name in site.files()) >= len(SEEDS) // 2, 4, pause=0.01)
        assert kept.service is not None
        kept.service.kill()
        holder.close()
        assert all(isinstance(answer.exception(), httpx.TransportError) for answer in answers)
    assert len(site.files()) == len(SEEDS) // 2
    with keeping(site, choosing_bundle) as kept:
        assert f'"set_aside": {len(SEEDS) // 2}' in site.log.read_text()
        agree(site, [])
        assert (kept.listed(), site.entries()) == ([], [])
