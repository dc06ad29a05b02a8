"""The service with a DICOMweb server that gets a report of every DICOM film."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, SettingsError
from tests.http.conftest import Start
from tests.results.films import film
from tests.support.orthanc import PASSWORD, USER, Orthanc
from tests.support.processes import free_port, run_command
from tests.support.served import assert_accepted
from tests.support.waiting import eventually


def test_the_service_delivers_whatever_the_caller_accepts_and_through_a_kill(start: Start, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "results"
    url = f"http://127.0.0.1:{port}/dicom-web"
    settings = {"CXR_RESULTS_USER": USER, "CXR_RESULTS_PASSWORD": PASSWORD, "CXR_RESULTS_FOLDER": str(folder)}
    # Reports have the same UIDs under the same key.
    record = f"sqlite:///{tmp_path / 'record.sqlite'}"
    settings |= {"CXR_RECORD_URL": record, "CXR_RECORD_KEY_FILE": str(tmp_path / "record.key")}
    with start(CXR_RESULTS_URL=url, **settings) as service:
        film_of_json, film_of_dicom, unreportable = film(1), film(2), film(3, StudyInstanceUID=None)
        assert_accepted(service.post(film_of_json, "application/dicom"))
        assert service.post(film_of_dicom, "application/dicom", Accept="application/dicom").status_code == 200
        assert_accepted(service.post(unreportable, "application/dicom"))
        assert 'cxr_results_total{outcome="unreportable"} 1.0' in service.get("/metrics").text
        eventually(lambda: "was not delivered" in service.logged())
        waiting = {path.stem for path in folder.glob("*.dcm")}
        assert len(waiting) == 2
        service.kill()
        assert not [uid for uid in waiting if uid in service.logged()]
        assert PASSWORD not in service.logged()
    orthanc = Orthanc.archive(tmp_path / "orthanc", port)
    with orthanc.running(), start(CXR_RESULTS_URL=url, **settings) as service:
        eventually(lambda: not list(folder.glob("*.dcm")))
        service.post(film_of_json, "application/dicom")
        eventually(lambda: 'cxr_results_total{outcome="present"} 1.0' in service.get("/metrics").text)
        instances = orthanc.instances()
        assert [instances.count(uid) for uid in waiting] == [1, 1]
        assert not [uid for uid in waiting if uid in service.logged()]


def test_a_folder_that_cannot_be_written_to_stops_the_start(tmp_path: Path, accepting_bundle: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings = {
        "CXR_RESULTS_URL": "http://localhost/dicom-web",
        "CXR_RESULTS_FOLDER": str(tmp_path / "file" / "results"),
    }
    done = run_command("serve", "--bundle", str(accepting_bundle), "--device", "cpu", **settings)
    assert done.returncode == 1
    assert "CXR_RESULTS_FOLDER" in done.stderr


def test_an_address_without_a_scheme_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="CXR_RESULTS_URL must begin with http"):
        Settings.from_environment({"CXR_RESULTS_URL": "pacs/dicom-web"})


def test_the_password_is_in_no_printed_settings() -> None:
    assert PASSWORD not in repr(Settings.from_environment({"CXR_RESULTS_PASSWORD": PASSWORD}))
