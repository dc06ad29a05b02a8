"""Reports to a real Orthanc: through lost answers, restarts of either side, and a server that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dicomweb_client.api import DICOMwebClient

from app.metrics import Metrics
from app.results import Delivery, DicomwebServer, Outbox
from app.results import deliver as deliver_module
from app.results import schedule as schedule_module
from app.results.dicomweb import DeliveryFailed
from tests.results.films import film, film_with_bytes
from tests.results.test_report import KEY, REJECTED, report, report_bytes
from tests.results.wire import Wire
from tests.support.orthanc import PASSWORD, USER, Orthanc
from tests.support.processes import free_port
from tests.support.waiting import eventually


@pytest.fixture
def server(orthanc: Orthanc) -> DicomwebServer:
    return DicomwebServer(orthanc.dicom_web, USER, PASSWORD, key=KEY)


def uid_of(data: bytes) -> str:
    return str(report(data, REJECTED).SOPInstanceUID)


def test_a_report_is_stored_once_and_found_by_an_independent_client(orthanc: Orthanc, server: DicomwebServer) -> None:
    data = film(StudyInstanceUID="1.2.3.1")
    made = report_bytes(data)
    assert server.deliver(made).outcome == "stored"
    assert server.deliver(made).outcome == "present"
    client = DICOMwebClient(orthanc.dicom_web, session=_session())
    (found,) = client.search_for_instances("1.2.3.1", search_filters={"Modality": "SR"})
    assert found["00080018"]["Value"] == [report(data).SOPInstanceUID]
    back = client.retrieve_instance("1.2.3.1", report(data).SeriesInstanceUID, report(data).SOPInstanceUID)
    assert back == report(data)


def test_a_report_on_a_film_whose_uids_have_leading_zeros_is_stored_once(
    orthanc: Orthanc, server: DicomwebServer
) -> None:
    made = report_bytes(film_with_bytes(StudyInstanceUID=b"1.2.826.01.3", SOPInstanceUID=b"1.2.826.0.007"))
    assert server.deliver(made).outcome == "stored"
    assert server.deliver(made).outcome == "present"


def _session():
    from requests import Session

    session = Session()
    session.auth = (USER, PASSWORD)
    return session


def test_a_lost_answer_is_looked_after_before_storing_again(orthanc: Orthanc) -> None:
    wire = Wire(orthanc.http_port, losing=1)
    through = DicomwebServer(wire.url, USER, PASSWORD, key=KEY)
    data = film()
    made = report_bytes(data, REJECTED)
    with pytest.raises(DeliveryFailed, match="no answer"):
        through.deliver(made)
    assert uid_of(data) in orthanc.instances()  # it was stored, and we could not know
    again = DicomwebServer(orthanc.dicom_web, USER, PASSWORD, key=KEY)
    assert again.deliver(made).outcome == "present"
    assert orthanc.instances().count(uid_of(data)) == 1
    wire.close()


@pytest.mark.parametrize(
    ("path", "user", "fault"), [("/nowhere", USER, "404"), ("", "somebody", "401")], ids=["wrong-path", "wrong-user"]
)
def test_a_wrong_setting_is_tried_again(orthanc: Orthanc, path: str, user: str, fault: str) -> None:
    wrong = DicomwebServer(orthanc.dicom_web + path, user, PASSWORD, key=KEY)
    with pytest.raises(DeliveryFailed, match=fault):
        wrong.deliver(report_bytes(film(), REJECTED))


def test_the_outbox_outlives_the_delivery_and_waits_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_module, "LONGEST_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(deliver_module, "FIRST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(deliver_module, "LONGEST_PAUSE_SECONDS", 0.5)
    port, films = free_port(), [film(n) for n in range(3)]
    metrics = Metrics()

    def delivery() -> Delivery:
        return Delivery(
            Outbox(tmp_path / "outbox"),
            DicomwebServer(f"http://127.0.0.1:{port}/dicom-web", USER, PASSWORD, key=KEY),
            metrics,
        )

    first = delivery()
    first.start()
    for data in films:
        first.put(uid_of(data), report_bytes(data, REJECTED))
        first.put(uid_of(data), report_bytes(data, REJECTED))  # a repeat waits once
    eventually(lambda: metrics.registry.get_sample_value("cxr_result_failures_total") >= 2)
    first.stop()
    assert len(list((tmp_path / "outbox").glob("*.dcm"))) == 3
    second = delivery()
    second.start()
    server = Orthanc.archive(tmp_path / "orthanc", port)
    with server.running():
        eventually(lambda: not list((tmp_path / "outbox").glob("*.dcm")))
        assert sorted(server.instances()) == sorted(map(uid_of, films))
    second.stop()
    assert metrics.registry.get_sample_value("cxr_results_total", {"outcome": "stored"}) == 3


@pytest.mark.parametrize("spoil", [lambda _: b"not a report", lambda data: data[:-3000]], ids=["no-dicom", "cut-short"])
def test_what_will_never_be_taken_is_put_aside_and_the_next_is_delivered(
    orthanc: Orthanc, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    metrics, data = Metrics(), film()
    delivery = Delivery(Outbox(tmp_path), DicomwebServer(orthanc.dicom_web, USER, PASSWORD, key=KEY), metrics)
    delivery.put("1.2", spoil(report_bytes(film(), REJECTED)))
    delivery.put(uid_of(data), report_bytes(data, REJECTED))
    delivery.start()
    eventually(lambda: uid_of(data) in orthanc.instances() and not list(tmp_path.glob("*.dcm")))
    delivery.stop()
    assert [kept.name for kept in (tmp_path / "refused").iterdir()] == ["1.2.dcm"]
    assert metrics.registry.get_sample_value("cxr_results_total", {"outcome": "refused"}) == 1


def test_the_outbox_is_its_owners_alone_and_forgets_what_was_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    Outbox(folder).put("1.2", b"report")
    (folder / "1.3.part").write_bytes(b"rep")
    outbox = Outbox(folder)
    ((uid, seconds),) = outbox.waiting()
    path = folder / f"{uid}.dcm"
    assert outbox.read(uid) == b"report"
    assert 0 <= seconds < 60
    assert not (folder / "1.3.part").exists()
    assert [oct(p.stat().st_mode & 0o777) for p in (folder, path)] == ["0o700", "0o600"]
