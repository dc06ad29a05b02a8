"""Heatmaps behind the gate: a PNG to lay over the film, or a Secondary Capture in its study."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from pydicom import dcmread

from tests.results.films import film
from tests.support.films import dicom, png
from tests.support.served import Served, assert_problem


def explain(
    served: Served, data: bytes, finding: str | None = "Mass", content_type: str = "image/png", accept: str = ""
):
    return served.client.post(
        "/v1/explain",
        params={} if finding is None else {"finding": finding},
        content=data,
        headers={"Content-Type": content_type, **({"Accept": accept} if accept else {})},
    )


def test_a_png_has_the_films_shape(service: Served) -> None:
    with Image.open(io.BytesIO(png())) as sent:
        size = sent.size
    answer = explain(service, png())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.mode == "RGBA"
        assert picture.size[0] / picture.size[1] == pytest.approx(size[0] / size[1], rel=0.01)


def test_a_dicom_film_as_png_and_as_secondary_capture(service: Served) -> None:
    sent = film()
    assert explain(service, sent, content_type="application/dicom").headers["content-type"] == "image/png"
    answer = explain(service, sent, content_type="application/dicom", accept="application/dicom")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom"
    capture, source = dcmread(io.BytesIO(answer.content)), dcmread(io.BytesIO(sent))
    assert capture.StudyInstanceUID == source.StudyInstanceUID
    assert capture.SOPClassUID.name == "Secondary Capture Image Storage"


def test_a_rejected_film_has_none(rejecting: Served) -> None:
    for accept in ("", "application/dicom"):
        answer = explain(rejecting, film(), content_type="application/dicom", accept=accept)
        assert assert_problem(answer, 422)["title"] == "rejected as adversarial"


@pytest.mark.parametrize("finding", [None, "", "mass", "Doe^Jane"])
def test_a_finding_that_is_not_known(service: Served, finding: str | None) -> None:
    problem = assert_problem(explain(service, png(), finding), 400)
    assert "must be one of Atelectasis" in problem["detail"]
    assert "Doe" not in problem["detail"]


def test_what_cannot_be_met(service: Served) -> None:
    assert_problem(explain(service, png(), accept="application/dicom"), 406)
    assert_problem(explain(service, dicom(), content_type="application/dicom", accept="text/html"), 406)
    assert_problem(explain(service, png()[:500]), 400)
