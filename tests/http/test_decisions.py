"""Every decision is in the record before it is answered, whatever is asked, and whatever is killed."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import generate_uid

from app.cli import main
from app.pipeline import read_bundle
from tests.http.stowing import answer_of, counted, failed, related, scored, stow, told
from tests.support.films import dicom, jpeg, png
from tests.support.served import Served, assert_accepted, assert_problem

Start = Callable[..., AbstractContextManager[Served]]


def kept_in(folder: Path) -> dict[str, str]:
    return {"CXR_RECORD_URL": f"sqlite:///{folder}/record.sqlite", "CXR_RECORD_KEY_FILE": f"{folder}/record.key"}


def entries(folder: Path, condition: str = "1", *values: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(folder / "record.sqlite")
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(f"SELECT * FROM entries WHERE {condition} ORDER BY id", values)]
    finally:
        connection.close()


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "record.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()


def verifies(folder: Path, *options: str) -> bool:
    url, key = kept_in(folder).values()
    return main(["verify-record", "--url", url, "--key-file", key, *options]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def recording(start: Start, folder: Path) -> Iterator[Served]:
    with start(**kept_in(folder)) as served:
        yield served


@pytest.fixture(scope="module")
def rejecting_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rejecting-state")


@pytest.fixture(scope="module")
def recording_rejecting(start: Start, rejecting_bundle: Path, rejecting_folder: Path) -> Iterator[Served]:
    with start(rejecting_bundle, **kept_in(rejecting_folder)) as served:
        yield served


def explain(service: Served, data: bytes, kind: str) -> httpx.Response:
    return service.client.post("/v1/explain?finding=Mass", content=data, headers={"Content-Type": kind})


KINDS = {"png": (png, "image/png"), "jpeg": (jpeg, "image/jpeg"), "dicom": (dicom, "application/dicom")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_recorded(recording: Served, folder: Path, accepting_bundle: Path, kind: str) -> None:
    make, content_type = KINDS[kind]
    answer = assert_accepted(recording.post(make(1), content_type))
    (entry,) = entries(folder, "request_id = ?", answer["request_id"])
    assert entry["kind"] == "judged"
    assert entry["model_version"] == answer["model_version"]
    assert (entry["verdict"], entry["source_kind"], entry["caller"]) == ("accepted", kind, "anonymous")
    assert entry["route"] == "/v1/score"
    assert len(entry["pixels_hash"]) == 64
    assert (entry["instance_hash"] is None) == (kind != "dicom")
    assert entry["presentation"] == ("no window: full range of 8 bits" if kind == "dicom" else None)
    assert 0 < entry["seconds"] < 60
    scores = read_bundle(accepting_bundle).golden.calibration_scores
    assert entry["percentile"] == 100 * (scores <= entry["log_density"]).mean()
    assert list(answer["probabilities"].values()) == json.loads(entry["probabilities"])


def test_a_rejection_is_recorded_without_probabilities(recording_rejecting: Served, rejecting_folder: Path) -> None:
    for answer in (recording_rejecting.post(png(2)), explain(recording_rejecting, png(2), "image/png")):
        body = assert_problem(answer, 422)
        (entry,) = entries(rejecting_folder, "request_id = ?", body["request_id"])
        assert (entry["verdict"], entry["probabilities"]) == ("rejected", None)


def test_an_explanation_is_recorded(recording: Served, folder: Path) -> None:
    answer = explain(recording, png(3), "image/png")
    assert answer.status_code == 200
    (entry,) = entries(folder, "request_id = ?", answer.headers["x-request-id"])
    assert (entry["route"], entry["verdict"], entry["kind"]) == ("/v1/explain", "accepted", "judged")


def test_each_instance_is_recorded_and_a_repeat_as_such(recording: Served, folder: Path) -> None:
    study = generate_uid()
    films = [dicom(seed, StudyInstanceUID=study) for seed in (4, 5)]
    first = stow(recording, *films, path=f"/dicomweb/studies/{study}")
    second = stow(recording, films[0])
    assert [told(item)[6] for item in scored(answer_of(second, 200))] == ["RECORD"]
    judged = entries(folder, "request_id = ?", first.headers["x-request-id"])
    assert [entry["kind"] for entry in judged] == ["judged"] * 2
    assert {entry["route"] for entry in judged} == {"/dicomweb/studies/{study}"}
    (repeat,) = entries(folder, "request_id = ?", second.headers["x-request-id"])
    (original,) = entries(folder, "id = ?", repeat["repeat_of"])
    assert original in judged
    assert (repeat["kind"], repeat["probabilities"]) == ("repeated", None)
    for same in ("instance_hash", "pixels_hash", "verdict", "log_density", "percentile", "model_version"):
        assert repeat[same] == original[same]


def test_what_was_scored_as_a_film_is_known_when_it_is_stored(recording: Served, folder: Path) -> None:
    film = dicom(6, SOPInstanceUID=generate_uid())
    answer = assert_accepted(recording.post(film, "application/dicom"))
    (item,) = scored(answer_of(stow(recording, film), 200))
    assert told(item)[6] == "RECORD"
    assert told(item)[4] == list(answer["probabilities"].values())


def test_what_is_no_decision_is_not_recorded(recording: Served, folder: Path) -> None:
    before = len(entries(folder))
    assert_problem(recording.post(b"no film"), 400)
    assert_problem(recording.post(dicom(7, BodyPartExamined="HAND"), "application/dicom"), 400)
    assert len(entries(folder)) == before


def test_the_record_holds_no_name_number_or_uid_and_verifies(recording: Served, folder: Path) -> None:
    told_tags = {
        "PatientName": "Testmann^Erika",
        "PatientID": "MRN-4711-0815",
        "PatientBirthDate": "19640812",
        "AccessionNumber": "ACC-555-777",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "SOPInstanceUID": generate_uid(),
    }
    film = dicom(8, **told_tags)
    assert_accepted(recording.post(film, "application/dicom"))
    upload = recording.client.post("/v1/score", files={"file": ("testmann-4711.dcm", film, "application/dicom")})
    assert_accepted(upload)
    answer_of(stow(recording, film), 200)
    answer_of(stow(recording, film, path=f"/dicomweb/studies/{told_tags['StudyInstanceUID']}"), 200)
    assert explain(recording, film, "application/dicom").status_code == 200
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"/v1/explain" in written  # the files are read while they are in use, the write-ahead log too
    for secret in ["testmann", "Testmann", "Erika", "127.0.0.1", *told_tags.values()]:
        assert secret.encode() not in written, secret
    assert verifies(folder)


# A record that does not answer.


def test_without_the_record_there_is_no_answer_that_tells_the_verdict(
    recording: Served, folder: Path, recording_rejecting: Served, rejecting_folder: Path
) -> None:
    answers: list[list[httpx.Response]] = []
    for service, its in ((recording, folder), (recording_rejecting, rejecting_folder)):
        change(its, "ALTER TABLE entries RENAME TO elsewhere")
        try:
            film = dicom(9)
            answers.append(
                [
                    service.post(png(9)),
                    service.post(film, "application/dicom", Accept="application/dicom"),
                    explain(service, png(9), "image/png"),
                    explain(service, film, "application/dicom"),
                ]
            )
            response = stow(service, film)
            (item,) = failed(answer_of(response, 503))
            assert item.FailureReason == 0xA700
            assert told(item)[7] == "/problems/record-unavailable"
            assert told(item)[1] == "NONE"
            assert response.headers["retry-after"]
            assert counted(service, "cxr_record_failures_total")[()] >= 4
        finally:
            change(its, "ALTER TABLE elsewhere RENAME TO entries")
        assert service.post(png(9)).status_code in {200, 422}
    for pair in zip(*answers, strict=True):
        bodies = [assert_problem(answer, 503) for answer in pair]
        for body in bodies:
            assert body["type"] == "/problems/record-unavailable"
            for differs in ("request_id", "instance"):
                del body[differs]
        assert bodies[0] == bodies[1]
        headers = [
            {name: value for name, value in answer.headers.items() if name not in TELLS_NOTHING} for answer in pair
        ]
        assert headers[0] == headers[1]
        assert "retry-after" in headers[0]


TELLS_NOTHING = {"date", "x-request-id"}


def test_a_record_that_others_lock_is_waited_for_and_then_not_answered(recording: Served, folder: Path) -> None:
    before = len(entries(folder))
    holder = sqlite3.connect(folder / "record.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        assert_problem(recording.post(png(10)), 503)
        assert recording.get("/healthz").status_code == 200
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert_accepted(recording.post(png(10)))
    assert len(entries(folder)) == before + 1


def test_an_optional_record_that_fails_is_counted_and_logged(start: Start, tmp_path: Path) -> None:
    with start(CXR_RECORD_OPTIONAL="true", **kept_in(tmp_path)) as service:
        change(tmp_path, "ALTER TABLE entries RENAME TO elsewhere")
        film = dicom(11)
        answer = assert_accepted(service.post(png(11)))
        for _ in range(2):
            (item,) = scored(answer_of(stow(service, film), 200))
            assert told(item)[6] == "SCORED"
        assert counted(service, "cxr_record_failures_total")[()] == 3
        assert answer["request_id"] in [
            line.split('"request_id": "')[1][:32]
            for line in service.logged().splitlines()
            if "answered without an entry" in line
        ]


# Kill.


class Load:
    """Clients that post films to a service until it is gone, and keep the ids of what was answered whole."""

    def __init__(self, port: int, clients: int) -> None:
        self.answered: list[str] = []
        self.begun = threading.Event()
        self._films = [png(seed) for seed in range(8)]
        self._pool = ThreadPoolExecutor(clients)
        self._ending = [self._pool.submit(self._client, port, number) for number in range(clients)]

    def _client(self, port: int, number: int) -> None:
        study = generate_uid()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            try:
                while True:
                    if number % 4 == 0:
                        films = [dicom(seed, SOPInstanceUID=generate_uid(), StudyInstanceUID=study) for seed in (1, 2)]
                        kind = 'multipart/related; type="application/dicom"; boundary=a-boundary'
                        answer = client.post(
                            "/dicomweb/studies", content=related(films), headers={"Content-Type": kind}
                        )
                    else:
                        content = self._films[number % 8]
                        answer = client.post("/v1/score", content=content, headers={"Content-Type": "image/png"})
                    assert answer.status_code == 200, answer.text
                    self.answered.append(answer.headers["x-request-id"])
                    self.begun.set()
            except httpx.TransportError:
                pass

    def ended(self) -> list[str]:
        for each in self._ending:
            each.result(timeout=60)
        self._pool.shutdown()
        return self.answered


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_under_load_all_that_was_answered_is_recorded(
    start: Start, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(6)
    answered: list[str] = []
    known, probabilities = dicom(12), []
    for kill in range(kills):
        with start(**kept_in(tmp_path)) as service:
            (item,) = scored(answer_of(stow(service, known), 200))
            assert told(item)[6] == ("RECORD" if kill else "SCORED")
            probabilities.append(tuple(told(item)[4]))
            load = Load(service.port, 8)
            assert load.begun.wait(60)
            time.sleep(chance.uniform(0, 1.5))  # the moment is the test
            service.kill()
            answered += load.ended()
        recorded = {entry["request_id"] for entry in entries(tmp_path)}
        assert not set(answered) - recorded
        assert verifies(tmp_path)
    assert len(answered) > kills
    assert len(set(probabilities)) == 1
