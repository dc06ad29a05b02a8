"""Faults of the machine under a running service: what callers see, and that nothing that was answered is lost.

docs/faults.md has the whole table, with the tests of other files.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch

from app.cli import main
from tests.http.conftest import Start
from tests.http.stowing import CONTENT_TYPE, related
from tests.http.test_flow import film, held, mark_of, post
from tests.support.films import dicom, png
from tests.support.served import Served, assert_accepted, assert_problem
from tests.support.told import SECONDS, Told, told

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class Machine:
    """A service whose disk, clock and bundle a test may spoil."""

    def __init__(self, folder: Path, service: Served) -> None:
        self.folder = folder
        self.service = service
        self.film = png(40)
        self.probabilities = assert_accepted(service.post(self.film))["probabilities"]

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def set_clock(self, offset: str) -> None:
        (self.folder / "clock").write_text(offset + "\n")

    def fill_disk(self) -> int:
        """No file grows beyond its first byte, whichever the service writes; gives the limit of before."""
        _, most = resource.prlimit(self.service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.service.process.pid, resource.RLIMIT_FSIZE, (1, most))
        return most

    def empty_disk(self, limit: int) -> None:
        resource.prlimit(self.service.process.pid, resource.RLIMIT_FSIZE, (limit, limit))

    def recorded(self) -> dict[str, str]:
        """Request id -> when, of all entries."""
        connection = sqlite3.connect(self.folder / "record.sqlite")
        try:
            return dict(connection.execute("SELECT request_id, time FROM entries ORDER BY id"))
        finally:
            connection.close()

    def verifies(self) -> bool:
        url, key = f"sqlite:///{self.folder}/record.sqlite", str(self.folder / "record.key")
        return main(["verify-record", "--url", url, "--key-file", key]) == 0


@pytest.fixture(scope="module")
def machine(start: Start, accepting_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if not FAKETIME.is_file():
        pytest.skip("Debian's libfaketime is not here: scripts/debian-packages.sh")
    folder = tmp_path_factory.mktemp("machine")
    shutil.copytree(accepting_bundle, folder / "bundle")
    (folder / "clock").write_text("+0\n")
    with start(
        folder / "bundle",
        CXR_RECORD_URL=f"sqlite:///{folder}/record.sqlite",
        CXR_RECORD_KEY_FILE=f"{folder}/record.key",
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=f"{folder}/clock",
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    ) as service:
        yield Machine(folder, service)


def test_a_full_disk_withholds_answers_and_passes(machine: Machine) -> None:
    before = set(machine.recorded())
    limit = machine.fill_disk()
    try:
        answer = machine.service.post(machine.film)
        assert assert_problem(answer, 503)["type"] == "/problems/record-unavailable"
        assert int(answer.headers["retry-after"]) > 0
        assert machine.service.get("/healthz").status_code == 200
        assert_problem(machine.service.post(machine.film[:500]), 400)  # what is no decision needs no record
    finally:
        machine.empty_disk(limit)
    body = assert_accepted(machine.service.post(machine.film))
    assert set(machine.recorded()) - before == {body["request_id"]}
    assert machine.verifies()


def test_a_clock_that_jumps_changes_no_answer(machine: Machine) -> None:
    """Deadlines and Retry-After are of a clock that does not jump; only the record's times follow."""
    told_ids = []
    for offset in ("+0", "+400d", "-3d", "+0"):
        machine.set_clock(offset)
        body = assert_accepted(machine.service.post(machine.film))
        assert body["probabilities"] == machine.probabilities
        told_ids.append(body["request_id"])
    times = [machine.recorded()[each] for each in told_ids]
    assert times[1][:4] > times[0][:4]  # it did jump
    assert times[2] < times[0]
    assert machine.verifies()


def test_a_bundle_that_is_replaced_under_the_service_changes_no_answer(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """In place, to the worst: truncated, overwritten, removed. What was verified at the start is what answers."""
    for path in machine.bundle.iterdir():
        if path.is_file():
            path.write_bytes(b"\0" * (path.stat().st_size // 2))
    assert assert_accepted(machine.service.post(machine.film))["probabilities"] == machine.probabilities
    shutil.rmtree(machine.bundle)
    assert assert_accepted(machine.service.post(machine.film))["probabilities"] == machine.probabilities
    described = machine.service.client.post(
        "/v1/explain?finding=Mass", content=machine.film, headers={"Content-Type": "image/png"}
    )
    assert described.status_code == 200
    assert main(["check-bundle", str(machine.bundle), "--device", "cpu"]) == 1  # a restart is refused
    assert "manifest.json" in capsys.readouterr().err


def test_sigterm_under_load_loses_no_answer(start: Start, tmp_path: Path) -> None:
    """Callers get a whole answer, 503, or find nobody there. (Without the library of the clock, under which sleeping fails.)"""
    with start(
        CXR_RECORD_URL=f"sqlite:///{tmp_path}/record.sqlite", CXR_RECORD_KEY_FILE=f"{tmp_path}/record.key"
    ) as service:
        terminate_under_load(Machine(tmp_path, service))


def terminate_under_load(machine: Machine) -> None:
    answered: list[str] = []
    statuses: set[int] = set()
    begun = threading.Event()

    def client(number: int) -> None:
        body = related([dicom(number)]) if number % 4 == 0 else png(number)
        path, kind = ("/dicomweb/studies", CONTENT_TYPE) if number % 4 == 0 else ("/v1/score", "image/png")
        with httpx.Client(base_url=machine.service.client.base_url, timeout=SECONDS) as service:
            while True:
                try:
                    answer = service.post(path, content=body, headers={"Content-Type": kind})
                except httpx.TransportError:
                    return
                statuses.add(answer.status_code)
                json.loads(answer.content)  # whole
                if answer.status_code == 200:
                    answered.append(answer.headers["x-request-id"])
                    begun.set()

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        assert begun.wait(SECONDS)
        machine.service.process.send_signal(signal.SIGTERM)
        for each in clients:
            each.result(60)
    assert machine.service.process.wait(60) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    assert statuses <= {200, 503}
    assert set(answered) <= set(machine.recorded())
    assert machine.verifies()
    assert [line for line in machine.service.logged().splitlines() if "Traceback" in line] == []


# A device short of memory.


def test_a_batch_that_is_too_large_for_the_device_is_judged_film_by_film(accepting_bundle: Path) -> None:
    with told(accepting_bundle) as service:
        out_of_memory_over(service, 1)
        with held(service), ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(post, service, film(mark)) for mark in range(20, 26)]
            service.until('cxr_queue_films{queue="device"}', 6)
            service.screener.gate.set()
            assert [mark_of(answer.result()) for answer in answers] == [*range(20, 26)]
        assert service.client.get("/readyz").status_code == 200


def test_a_film_that_does_not_fit_on_the_device_is_told_503(accepting_bundle: Path) -> None:
    with told(accepting_bundle) as service:
        out_of_memory_over(service, 0)
        answer = post(service, film(20))
        assert assert_problem(answer, 503)["type"] == "/problems/inference-failed"
        assert "memory" not in answer.text
        assert answer.headers["retry-after"]
        out_of_memory_over(service, 8)
        assert mark_of(post(service, film(20))) == 20


def out_of_memory_over(service: Told, films: int) -> None:
    """As CUDA does it, for batches of more films."""
    screen = type(service.screener).screen

    def short(images: torch.Tensor) -> list[object]:
        if len(images) > films:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return screen(service.screener, images)

    service.screener.screen = short  # type: ignore[method-assign]
