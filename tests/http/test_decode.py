"""A film as it is decoded, for a viewer: to the sample, without a verdict."""

from __future__ import annotations

import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from app.pipeline import decode
from tests.support.films import dicom, half, jpeg, png
from tests.support.served import Served, assert_problem

DICOM = "application/dicom"


def posted(served: Served, film: bytes, kind: str, accept: str = "image/png") -> httpx.Response:
    return served.client.post("/v1/decode", content=film, headers={"Content-Type": kind, "Accept": accept})


def fifteen_bits() -> bytes:
    path = get_testdata_file("RG1_UNCR.dcm")
    assert path
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("make", "kind"),
    [(png, "image/png"), (jpeg, "image/jpeg"), (dicom, DICOM), (fifteen_bits, DICOM)],
    ids=["png", "jpeg", "dicom", "dicom-15-bit"],
)
def test_every_sample_is_the_decoded_film(service: Served, make: Callable[[], bytes], kind: str) -> None:
    film = make()
    answer = posted(service, film, kind)
    assert answer.status_code == 200
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/png", "no-store")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.mode.startswith("I;16")
        samples = np.asarray(picture)
    assert (samples == np.rint(decode(film).pixels * 65535)).all()


def test_a_film_that_is_rejected_may_be_seen_by_its_sender(rejecting: Served) -> None:
    assert_problem(rejecting.post(png()), 422)
    assert posted(rejecting, png(), "image/png").status_code == 200


@pytest.mark.parametrize(
    ("film", "kind", "sides"),
    [
        # PS3.3 C.7.6.1.1.1: where rows run to the patient's left, his right is at the left edge.
        (dicom(PatientOrientation=["L", "F"]), DICOM, "usual"),
        (dicom(PatientOrientation=["LF", "FP"]), DICOM, "usual"),
        (fifteen_bits(), DICOM, "usual"),
        (dicom(PatientOrientation=["R", "F"]), DICOM, "mirrored"),
        (dicom(), DICOM, "unknown"),
        (dicom(PatientOrientation=""), DICOM, "unknown"),
        (dicom(PatientOrientation="L"), DICOM, "unknown"),
        (dicom(PatientOrientation=["", "F"]), DICOM, "unknown"),
        (dicom(PatientOrientation=["L", ""]), DICOM, "unknown"),
        (dicom(PatientOrientation=["L", "F", "F"]), DICOM, "unknown"),
        (png(), "image/png", "unknown"),
        (jpeg(), "image/jpeg", "unknown"),
    ],
    ids=["L-F", "LF-FP", "real", "R-F", "absent", "empty", "one", "no-rows", "no-columns", "three", "png", "jpeg"],
)
def test_which_side_lies_where_is_told_only_where_the_header_does(
    service: Served, film: bytes, kind: str, sides: str
) -> None:
    answer = posted(service, film, kind)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get_list("X-Film-Sides") == [sides]


def test_no_decision_is_counted(service: Served) -> None:
    def judged() -> list[str]:
        return [line for line in service.get("/metrics").text.splitlines() if line.startswith("cxr_decisions_total")]

    before = judged()
    assert posted(service, png(5), "image/png").status_code == 200
    assert judged() == before


def test_what_cannot_be_shown(service: Served) -> None:
    assert_problem(posted(service, half(png), "image/png"), 400)
    assert_problem(posted(service, png(), DICOM), 415)
    assert_problem(posted(service, dicom(Modality="CT"), DICOM), 400)
    assert_problem(posted(service, png(), "image/png", accept="text/html"), 406)
