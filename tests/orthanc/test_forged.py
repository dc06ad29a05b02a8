"""A report of somebody else's in the place of the service's, in a real Orthanc: the forwarder sees to it that it is not alone."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.statements import OTHER_TEXT
from tests.orthanc.pacs import Forwarder
from tests.orthanc.standin import Answer, stand_in
from tests.orthanc.test_faults import instance
from tests.results.test_forged import forged
from tests.results.test_report import REJECTED, report_bytes
from tests.support.orthanc import Orthanc
from tests.support.processes import free_port


def test_a_forged_report_in_orthanc_does_not_stand_alone(orthanc: Orthanc, tmp_path: Path) -> None:
    """The true one is stored beside it, once, however often the film comes."""
    film = instance("P-4711")
    true = report_bytes(film, REJECTED)
    orthanc.upload(forged(true))
    port = free_port()
    with stand_in(lambda *_: Answer(422, true)) as service:
        forwarder = Forwarder(tmp_path, orthanc, service.url, "--metrics-port", str(port))
        orthanc.upload(film)
        for times in (1, 2):
            forwarder.start()
            forwarder.await_caught_up()
            metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert "cxr_forward_report_conflicts_total 1.0" in metrics
            forwarder.stop()
            forwarder.state.unlink()  # so that all comes again
            assert len(forwarder.events("Orthanc has another report under a report's UID")) == times
            names = orthanc.client.post("/tools/find", json={"Level": "Instance", "Query": {"Modality": "SR"}}).json()
            reports = [orthanc.client.get(f"/instances/{name}/file").content for name in names]
            assert len(reports) == 2
    (second,) = [each for each in map(dcmread, map(io.BytesIO, reports)) if says_second(each)]
    first = dcmread(io.BytesIO(true))
    assert second.StudyInstanceUID == first.StudyInstanceUID
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert not [name for name in names if name in forwarder.logged()]


def says_second(report: Dataset) -> bool:
    return bool(report.ContentSequence[-1].TextValue == OTHER_TEXT)
