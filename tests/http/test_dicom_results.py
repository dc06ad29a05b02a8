"""POST /v1/score with Accept: application/dicom: a structured report of both verdicts, and problems for the rest."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.pipeline.labels import LABELS
from tests.results.films import NAME, PATIENT, film
from tests.support.films import half, jpeg, png, with_modality
from tests.support.served import Served, assert_accepted, assert_problem

DICOM = "application/dicom"


def report_of(response: httpx.Response, status: int) -> Dataset:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == DICOM
    assert response.headers["x-request-id"]
    return dcmread(io.BytesIO(response.content))


def ask(served: Served, data: bytes, accept: str = DICOM, media_type: str = DICOM) -> httpx.Response:
    return served.post(data, media_type, Accept=accept)


def test_an_accepted_film_gets_a_report_in_its_study(service: Served) -> None:
    source = film(StudyInstanceUID="1.2.3.4")
    report = report_of(ask(service, source), 200)
    assert report.SOPClassUID.name == "Comprehensive SR Storage"
    assert (report.StudyInstanceUID, report.PatientID, report.Modality) == ("1.2.3.4", PATIENT, "SR")
    assert report.PatientName == NAME
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        dcmread(io.BytesIO(source)).SOPInstanceUID
    )
    assert len(_numbers(report)) == 3 * len(LABELS)  # probability, and the two points of its call


def test_the_report_and_the_json_say_the_same(service: Served) -> None:
    source = film(3)
    expected = assert_accepted(ask(service, source, "application/json"))["probabilities"]
    numbers = [n for name, n in _numbers(report_of(ask(service, source), 200)) if name == "Probability"]
    assert numbers == pytest.approx(list(expected.values()), abs=1e-4)


def test_a_rejected_film_gets_422_and_a_report_without_numbers(rejecting: Served) -> None:
    report = report_of(ask(rejecting, film()), 422)
    assert not _numbers(report)
    text = json.dumps(report.to_json_dict())
    assert "No result was made" in text
    assert not [word for word in (*LABELS, "Probability", "OperatingPoint") if word in text]


def test_a_repeated_request_gives_the_same_instance(service: Served) -> None:
    source = film(5)
    first, second = (report_of(ask(service, source), 200) for _ in range(2))
    assert first.SOPInstanceUID == second.SOPInstanceUID
    for keyword in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"):
        del first[keyword], second[keyword]
    assert first == second


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom",
        "APPLICATION/DICOM",
        "application/json;q=0.5, application/dicom",
        "application/dicom, */*",
        "application/dicom;transfer-syntax=1.2.840.10008.1.2.1",
        'application/dicom; transfer-syntax="*"; q=0.9, application/json;q=0.8',
    ],
)
def test_who_names_dicom_gets_it(service: Served, accept: str) -> None:
    report_of(ask(service, film(), accept), 200)


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "",
        "text/html",
        "application/dicom;q=0",
        "application/dicom;q=0.1, application/json",
        "application/dicom+json",
        "application/dicom;q=nonsense",
        "application/dicom;transfer-syntax=1.2.840.10008.1.2.4.50",
        ";;;,,,==",
    ],
)
def test_everybody_else_gets_json(service: Served, accept: str) -> None:
    assert_accepted(ask(service, film(), accept))


@pytest.mark.parametrize(("make", "media_type"), [(png, "image/png"), (jpeg, "image/jpeg")], ids=["png", "jpeg"])
def test_no_report_is_made_of_what_is_not_dicom(service: Served, make, media_type: str) -> None:
    body = assert_problem(ask(service, make(), DICOM, media_type), 406)
    assert "application/json" in body["detail"]
    assert_accepted(ask(service, make(), "application/dicom, application/json;q=0.1", media_type))
    form = {"file": ("film", make(), media_type)}
    assert_problem(service.client.post("/v1/score", files=form, headers={"Accept": DICOM}), 406)


def test_a_form_with_a_dicom_film_gets_a_report(service: Served) -> None:
    form = {"file": ("film", film(), DICOM)}
    report_of(service.client.post("/v1/score", files=form, headers={"Accept": DICOM}), 200)


def test_every_other_answer_stays_a_problem(service: Served) -> None:
    assert_problem(ask(service, half(film)), 400)
    assert_problem(ask(service, with_modality("CT_small.dcm")), 400)
    assert_problem(ask(service, film(), DICOM, "text/plain"), 415)


UNREPORTABLE = {
    "no-study": ({"StudyInstanceUID": None}, "StudyInstanceUID (0020,000D) is absent"),
    "empty-study": ({"StudyInstanceUID": ""}, "StudyInstanceUID (0020,000D) is absent"),
    "no-series": ({"SeriesInstanceUID": None}, "SeriesInstanceUID (0020,000E) is absent"),
}


@pytest.mark.parametrize("name", UNREPORTABLE)
@pytest.mark.parametrize("judge", ["service", "rejecting"])
def test_a_film_that_cannot_be_referred_to_is_named(request: pytest.FixtureRequest, judge: str, name: str) -> None:
    served: Served = request.getfixturevalue(judge)
    tags, fault = UNREPORTABLE[name]
    body = assert_problem(ask(served, film(**tags)), 400)
    assert body["type"] == "/problems/unreportable-source"
    assert fault in body["detail"]


def test_json_needs_no_study(service: Served) -> None:
    assert_accepted(ask(service, film(StudyInstanceUID=None), "application/json"))


def test_nothing_of_the_patient_is_logged(service: Served) -> None:
    source = film(StudyInstanceUID="1.2.840.99999.1", PatientName="Unmistakable", PatientID="4711-0815")
    report = report_of(ask(service, source), 200)
    secrets = ("Unmistakable", "4711-0815", "1.2.840.99999.1", report.SOPInstanceUID)
    assert not [secret for secret in secrets if secret in service.logged() + service.get("/metrics").text]


def test_the_shared_films_get_reports(service: Served, shared_data: Path) -> None:
    for path in sorted((shared_data / "dicom").glob("*chest*.dcm")):
        report = report_of(ask(service, path.read_bytes()), 200)
        assert report.StudyInstanceUID == dcmread(path, stop_before_pixels=True).StudyInstanceUID, path.name


def _numbers(item: Dataset) -> list[tuple[str, float]]:
    """Code and value of every NUM of a content tree, in its order."""
    found = []
    if item.ValueType == "NUM":
        found.append((item.ConceptNameCodeSequence[0].CodeValue, float(item.MeasuredValueSequence[0].NumericValue)))
    for child in item.get("ContentSequence", []):
        found += _numbers(child)
    return found
