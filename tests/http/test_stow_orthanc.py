"""A real Orthanc, whose DICOMweb plugin stores to the service, and what it thinks of the answers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.served import Served, dicom
from tests.http.stowing import counted

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def orthanc(service: Served, rejecting: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Knows the accepting service as ``accepting`` and the rejecting one as ``rejecting``."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not program or not Path(PLUGIN).exists():
        pytest.fail(
            "Orthanc or its DICOMweb plugin is not installed; scripts/debian-packages.txt lists what tests need"
        )
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
    known = {"accepting": service, "rejecting": rejecting}
    configuration = {
        "Name": "tests",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "OverwriteInstances": True,
        "Plugins": [PLUGIN],
        "DicomWeb": {
            "Enable": True,
            "Servers": {name: [f"http://127.0.0.1:{served.port}/dicomweb/"] for name, served in known.items()},
        },
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        try:
            end = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                try:
                    client.get("/system").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield client
        finally:
            process.terminate()
            process.wait(timeout=60)


def upload(orthanc: httpx.Client, *films: bytes) -> list[str]:
    return [orthanc.post("/instances", content=film).raise_for_status().json()["ID"] for film in films]


def store(orthanc: httpx.Client, server: str, instances: list[str]) -> dict[str, Any]:
    """Let Orthanc store instances to a server, all in one request; the job, once it has ended."""
    order = {"Resources": instances, "Asynchronous": True}
    job = orthanc.post(f"/dicom-web/servers/{server}/stow", json=order).raise_for_status().json()["ID"]
    end = time.monotonic() + 60
    while (found := orthanc.get(f"/jobs/{job}").json())["State"] in {"Pending", "Running"}:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return dict(found)


def grown(service: Served, before: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    after = counted(service, "cxr_store_instances_total")
    return {
        answer: value - before.get((answer,), 0) for (answer,), value in after.items() if value != before.get((answer,))
    }


@pytest.fixture(scope="module")
def films(orthanc: httpx.Client, shared_data: Path) -> list[str]:
    names = ["dx_chest_no_finding", "dx_chest_effusion", "cr_chest_15bit_j2k_lossless"]
    return upload(orthanc, *((shared_data / "dicom" / f"{name}.dcm").read_bytes() for name in names))


@pytest.fixture(scope="module")
def hand(orthanc: httpx.Client) -> list[str]:
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "PatientID": "x"}
    return upload(orthanc, dicom(1, BodyPartExamined="HAND", **uids))


def test_orthanc_takes_scored_films_for_stored_also_when_it_repeats_them(
    orthanc: httpx.Client, service: Served, films: list[str]
) -> None:
    for repeated in (False, True):
        before = counted(service, "cxr_store_instances_total")
        job = store(orthanc, "accepting", films)
        assert (job["State"], job["Content"]["InstancesCount"]) == ("Success", "3")
        counts = grown(service, before)
        assert sum(counts.values()) == 3
        assert counts == {"from_record": 3} if repeated else set(counts) <= {"scored", "from_record"}


def test_orthanc_sees_that_one_of_four_failed_and_the_others_are_scored(
    orthanc: httpx.Client, service: Served, films: list[str], hand: list[str]
) -> None:
    before = counted(service, "cxr_store_instances_total")
    job = store(orthanc, "accepting", [*hand, *films])
    assert job["State"] == "Failure"
    assert "only able to receive 3 instances out of 4" in job["Content"]["FunctionErrorDetails"]
    counts = grown(service, before)
    assert counts.pop("refused") == 1
    assert sum(counts.values()) == 3


@pytest.mark.parametrize("server", ["accepting", "rejecting"])
def test_orthanc_sees_a_refusal_and_a_rejection_as_failures(
    orthanc: httpx.Client, films: list[str], hand: list[str], server: str
) -> None:
    assert store(orthanc, server, hand if server == "accepting" else films)["State"] == "Failure"
