"""From C-STORE of real films to their reports in Orthanc, found by QIDO-RS."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.orthanc.pacs import Forwarder, Service, film_of, says_accepted
from tests.support.orthanc import Orthanc

#: How ``storescu`` is told the transfer syntax of each film that is compressed.
PROPOSALS = {"j2k_lossless": "-xv", "j2k_lossy": "-xw", "jpeg_baseline": "-xy"}
PATIENT_NAMES = ("PatientName", "PatientID", "AccessionNumber")


@pytest.fixture
def films(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "dicom").glob("*.dcm"))


def noisy(film: Path) -> bytes:
    """The film as another instance of its study, with noise that the gate rejects."""
    dataset = dcmread(film)
    grey = np.frombuffer(dataset.PixelData, np.uint8).astype(np.float64)
    grey += np.random.default_rng(0).normal(0, 25, grey.shape)
    dataset.PixelData = np.clip(grey, 0, 255).round().astype(np.uint8).tobytes()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["noisy"])
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_films_that_are_sent_get_reports_in_their_studies(
    orthanc: Orthanc, default_service: Service, films: list[Path], tmp_path: Path, program: str
) -> None:
    (clean,) = (film for film in films if film.stem == "dx_chest_effusion")
    tampered = tmp_path / "tampered.dcm"
    tampered.write_bytes(noisy(clean))
    sent = [*films, tampered]

    forwarder = Forwarder(tmp_path, orthanc, default_service.url)
    with forwarder.running():
        if program == "dcmsend":
            orthanc.send(program, *sent)
        else:
            for film in sent:
                orthanc.send(program, *(flag for name, flag in PROPOSALS.items() if name in film.stem), film)
        forwarder.await_caught_up()

    first_of_each = {str(dcmread(film, stop_before_pixels=True).SOPInstanceUID): film for film in reversed(sent)}
    statuses = {uid: default_service.status(film.read_bytes()) for uid, film in first_of_each.items()}
    assert set(statuses.values()) == {200, 422, 400}
    reports = orthanc.reports()
    assert sorted(map(film_of, reports)) == sorted(uid for uid, status in statuses.items() if status != 400)
    for report in reports:
        film = dcmread(first_of_each[film_of(report)], stop_before_pixels=True)
        assert says_accepted(report) is (statuses[film_of(report)] == 200)
        assert (report.StudyInstanceUID, report.PatientID) == (film.StudyInstanceUID, film.PatientID)
    refused = forwarder.events("refused by the service")
    assert [(line["status"], line["reason"]) for line in refused] == [(400, "unsuitable-image")]
    nothing_of_a_patient_in(forwarder, films, orthanc)


def nothing_of_a_patient_in(forwarder: Forwarder, films: list[Path], orthanc: Orthanc) -> None:
    log = forwarder.logged()
    for film in films:
        dataset = dcmread(film, stop_before_pixels=True)
        values = [str(dataset.get(keyword, "")) for keyword in PATIENT_NAMES]
        assert not [value for value in values if len(value) > 3 and value in log]
        assert dataset.SOPInstanceUID not in log
        assert dataset.StudyInstanceUID not in log
    assert not [identifier for identifier in orthanc.get("/instances") if identifier in log]


def test_a_stopped_forwarder_takes_up_where_it_was(
    orthanc: Orthanc, default_service: Service, films: list[Path], tmp_path: Path
) -> None:
    forwarder = Forwarder(tmp_path, orthanc, default_service.url)
    first, second = (film for film in films if film.stem in {"dx_chest_effusion", "dx_chest_cardiomegaly"})
    with forwarder.running():
        orthanc.send("dcmsend", first)
        forwarder.await_caught_up()
    assert forwarder.stop() == 0
    orthanc.send("dcmsend", second)
    with forwarder.running():
        forwarder.await_caught_up()
    assert len(orthanc.reports()) == 2
    stored = forwarder.events("report stored")
    assert [line["new"] for line in stored] == [True, True]  # nothing was done twice


def test_a_lost_state_file_repeats_nothing_that_is_seen(
    orthanc: Orthanc, default_service: Service, films: list[Path], tmp_path: Path
) -> None:
    forwarder = Forwarder(tmp_path, orthanc, default_service.url)
    (film,) = (film for film in films if film.stem == "dx_chest_effusion")
    orthanc.send("dcmsend", film)
    with forwarder.running():
        forwarder.await_caught_up()
    (report,) = orthanc.reports()
    forwarder.state.unlink()
    with forwarder.running():
        forwarder.await_caught_up()
    assert [line["new"] for line in forwarder.events("report stored")] == [True, False]
    assert orthanc.reports() == [report]


def test_start_now_leaves_what_was_there(
    orthanc: Orthanc, default_service: Service, films: list[Path], tmp_path: Path
) -> None:
    old, new = (film for film in films if film.stem in {"dx_chest_effusion", "dx_chest_cardiomegaly"})
    orthanc.send("dcmsend", old)
    before = orthanc.last_change()
    forwarder = Forwarder(tmp_path, orthanc, default_service.url, "--start", "now")
    with forwarder.running():
        forwarder.await_caught_up()
        assert json.loads(forwarder.state.read_text())["last_change"] == before
        orthanc.send("dcmsend", new)
        forwarder.await_caught_up()
    (report,) = orthanc.reports()
    assert film_of(report) == dcmread(new, stop_before_pixels=True).SOPInstanceUID
