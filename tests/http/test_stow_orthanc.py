"""A real Orthanc, whose DICOMweb plugin stores to the service, and what it thinks of the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.http.stowing import counted
from tests.support.films import dicom
from tests.support.orthanc import Orthanc
from tests.support.served import Served
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def orthanc(service: Served, rejecting: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Knows the accepting service as ``accepting`` and the rejecting one as ``rejecting``."""
    servers = {"accepting": [f"{service.url}/dicomweb/"], "rejecting": [f"{rejecting.url}/dicomweb/"]}
    archive = Orthanc.archive(
        tmp_path_factory.mktemp("orthanc"), DicomWeb={"Enable": True, "Servers": servers}, OverwriteInstances=True
    )
    with archive.running():
        yield archive


def store(orthanc: Orthanc, server: str, instances: list[str]) -> dict[str, Any]:
    """Let Orthanc store instances to a server, all in one request; the job, once it has ended."""
    order = {"Resources": instances, "Asynchronous": True}
    answer = orthanc.client.post(f"/dicom-web/servers/{server}/stow", json=order).raise_for_status()
    job = f"/jobs/{answer.json()['ID']}"
    eventually(lambda: orthanc.get(job)["State"] not in {"Pending", "Running"}, what=lambda: orthanc.get(job))
    return dict(orthanc.get(job))


def grown(service: Served, before: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    after = counted(service, "cxr_store_instances_total")
    return {
        answer: value - before.get((answer,), 0) for (answer,), value in after.items() if value != before.get((answer,))
    }


@pytest.fixture(scope="module")
def films(orthanc: Orthanc, shared_data: Path) -> list[str]:
    names = ["dx_chest_no_finding", "dx_chest_effusion", "cr_chest_15bit_j2k_lossless"]
    return orthanc.upload(*((shared_data / "dicom" / f"{name}.dcm").read_bytes() for name in names))


@pytest.fixture(scope="module")
def hand(orthanc: Orthanc) -> list[str]:
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "PatientID": "x"}
    return orthanc.upload(dicom(1, BodyPartExamined="HAND", **uids))


def test_orthanc_takes_scored_films_for_stored_also_when_it_repeats_them(
    orthanc: Orthanc, service: Served, films: list[str]
) -> None:
    for repeated in (False, True):
        before = counted(service, "cxr_store_instances_total")
        job = store(orthanc, "accepting", films)
        assert (job["State"], job["Content"]["InstancesCount"]) == ("Success", "3")
        counts = grown(service, before)
        assert sum(counts.values()) == 3
        assert counts == {"from_record": 3} if repeated else set(counts) <= {"scored", "from_record"}


def test_orthanc_sees_that_one_of_four_failed_and_the_others_are_scored(
    orthanc: Orthanc, service: Served, films: list[str], hand: list[str]
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
    orthanc: Orthanc, films: list[str], hand: list[str], server: str
) -> None:
    assert store(orthanc, server, hand if server == "accepting" else films)["State"] == "Failure"
