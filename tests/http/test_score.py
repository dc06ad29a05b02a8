"""POST /v1/score: what is accepted, what the gate rejects, and every input that is neither."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.pipeline.labels import LABELS
from tests.support.films import (
    dicom,
    dicom_not_a_number,
    dicom_with_syntax,
    encoded,
    half,
    jpeg,
    pixels,
    png,
    png_claiming,
    unsupported_syntax,
    with_modality,
)
from tests.support.served import Served, assert_accepted, assert_problem

FILMS = {
    "png": (png, "image/png"),
    "jpeg": (jpeg, "image/jpeg"),
    "dicom": (dicom, "application/dicom"),
}


@pytest.mark.parametrize("kind", FILMS)
@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_a_film_gets_fourteen_probabilities(service: Served, kind: str, form: str) -> None:
    make, media_type = FILMS[kind]
    if form == "raw":
        response = service.post(make(), media_type)
    else:
        response = service.client.post("/v1/score", files={"file": ("film", make(), media_type)})
    body = assert_accepted(response)
    assert set(body) == {
        "request_id",
        "model_version",
        "verdict",
        "probabilities",
        "calls",
        "source_kind",
        "exposed_field",
        "notes",
    }
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["verdict"] == "accepted"
    assert body["model_version"].startswith("densenet121-mgm-")
    assert body["source_kind"] == kind
    assert tuple(body["probabilities"]) == LABELS
    assert all(0 <= value <= 1 for value in body["probabilities"].values())


def test_raw_and_multipart_and_every_lossless_format_agree(service: Served) -> None:
    raw = assert_accepted(service.post(png(3)))["probabilities"]
    multipart = service.client.post("/v1/score", files={"file": ("a.png", png(3), "image/png")})
    assert assert_accepted(multipart)["probabilities"] == pytest.approx(raw, abs=1e-5)
    as_dicom = assert_accepted(service.post(dicom(3), "application/dicom"))["probabilities"]
    assert as_dicom == pytest.approx(raw, abs=1e-5)


def test_each_request_has_an_id_of_its_own(service: Served) -> None:
    """A caller's own id may come twice, and is given back beside it."""
    answers = [service.post(png(), X_Request_ID="mine") for _ in range(2)]
    assert [answer.headers["x-request-id"] for answer in answers] == ["mine", "mine"]
    first, second = (answer.json()["request_id"] for answer in answers)
    assert first != second
    assert "mine" not in (first, second)
    assert [answer.headers["x-service-request-id"] for answer in answers] == [first, second]


@pytest.mark.parametrize(
    "media_type", ["image/png; charset=binary", "IMAGE/PNG", "image/png;"], ids=["parameter", "capitals", "semicolon"]
)
def test_spellings_of_a_media_type(service: Served, media_type: str) -> None:
    assert_accepted(service.post(png(), media_type))


@pytest.mark.parametrize("kind", FILMS)
def test_the_gate_rejects_with_422_and_tells_no_score(rejecting: Served, kind: str) -> None:
    make, media_type = FILMS[kind]
    response = rejecting.post(make(), media_type)
    body = assert_problem(response, 422)
    assert body["title"] == "rejected as adversarial"
    assert body["type"] == "/problems/rejected-as-adversarial"
    assert "retry-after" not in response.headers
    text = response.text.lower()
    for secret in ("probabilit" + 'ies":', "score", "density", "threshold", "verdict", *map(str.lower, LABELS)):
        assert secret not in text


def test_a_rejection_says_the_same_of_every_film(rejecting: Served) -> None:
    details = {assert_problem(rejecting.post(png(seed)), 422)["detail"] for seed in range(3)}
    assert len(details) == 1


# Pixel formats that are unusual and right.


def _rgba(alpha: int) -> bytes:
    grey = pixels()
    return encoded(Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, alpha)])))


def _palette() -> bytes:
    return encoded(Image.fromarray(pixels()).convert("P"))


def _sixteen_bits() -> bytes:
    return encoded(Image.fromarray(pixels().astype(np.uint16) * 257))


def _cmyk_grey() -> bytes:
    grey = pixels()
    nothing = np.zeros_like(grey)
    return encoded(Image.fromarray(np.dstack([nothing, nothing, nothing, 255 - grey]), mode="CMYK"), "JPEG", quality=95)


UNUSUAL = {
    "16-bit-png": (_sixteen_bits, "image/png"),
    "opaque-rgba": (lambda: _rgba(255), "image/png"),
    "palette-of-greys": (_palette, "image/png"),
    "rgb-of-greys": (lambda: encoded(Image.fromarray(pixels()).convert("RGB")), "image/png"),
    "grey-cmyk": (_cmyk_grey, "image/jpeg"),
    "progressive-jpeg": (lambda: encoded(Image.fromarray(pixels()), "JPEG", progressive=True), "image/jpeg"),
    "dicom-without-view": (lambda: dicom(ViewPosition=None), "application/dicom"),
    "window-of-nan": (lambda: dicom_not_a_number("WindowCenter"), "application/dicom"),
    "slope-of-nan": (lambda: dicom_not_a_number("RescaleSlope"), "application/dicom"),
    "window-of-zero-width": (lambda: dicom(WindowCenter="1", WindowWidth="0"), "application/dicom"),
    "dicom-without-body-part": (lambda: dicom(BodyPartExamined=None), "application/dicom"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_films_are_scored(service: Served, name: str) -> None:
    make, media_type = UNUSUAL[name]
    assert_accepted(service.post(make(), media_type))


@pytest.mark.parametrize("name", ["16-bit-png", "opaque-rgba", "palette-of-greys", "rgb-of-greys"])
def test_one_picture_in_any_lossless_form_has_one_answer(service: Served, name: str) -> None:
    expected = assert_accepted(service.post(png()))["probabilities"]
    answer = assert_accepted(service.post(*_made(UNUSUAL[name])))["probabilities"]
    assert answer == pytest.approx(expected, abs=1e-5)


# What is refused.


def _made(entry: tuple[Callable[[], bytes], str]) -> tuple[bytes, str]:
    make, media_type = entry
    return make(), media_type


def _colour() -> bytes:
    return encoded(Image.fromarray(np.dstack([pixels(1), pixels(2), pixels(3)])))


PNG, JPEG, DICOM = "image/png", "image/jpeg", "application/dicom"
#: name -> what is sent, its Content-Type, the status, and a word that the detail must have
REFUSED: dict[str, tuple[Callable[[], bytes], str | None, int, str]] = {
    "empty-body": (lambda: b"", PNG, 400, "empty"),
    "one-byte": (lambda: b"\x89", PNG, 400, "neither"),
    "text": (lambda: b"a film of the chest, please", PNG, 400, "neither"),
    "png-signature-alone": (lambda: png()[:8], PNG, 400, "damaged"),
    "truncated-png": (lambda: half(png), PNG, 400, "damaged"),
    "truncated-jpeg": (lambda: half(jpeg), JPEG, 400, "damaged"),
    "truncated-dicom": (lambda: half(dicom), DICOM, 400, "cut short"),
    "dicom-preamble-alone": (lambda: dicom()[:132], DICOM, 400, "cut short"),
    "png-of-60000x60000": (lambda: png_claiming(60000, 60000), PNG, 413, "60000 x 60000"),
    "dicom-of-60000x60000": (lambda: dicom(Rows=60000, Columns=60000), DICOM, 413, "60000 x 60000"),
    "colour-png": (_colour, PNG, 400, "colour"),
    "transparent-png": (lambda: _rgba(100), PNG, 400, "transparent"),
    "1x1": (lambda: encoded(Image.new("L", (1, 1))), PNG, 400, "1 x 1"),
    "blank": (lambda: encoded(Image.new("L", (256, 256))), PNG, 400, "one value"),
    "dicom-without-pixels": (lambda: dicom(PixelData=None), DICOM, 400, "PixelData"),
    "ct": (lambda: with_modality("CT_small.dcm"), DICOM, 400, "Modality.*CT"),
    "mr": (lambda: with_modality("MR_small.dcm"), DICOM, 400, "Modality.*MR"),
    "mammogram": (lambda: dicom(Modality="MG"), DICOM, 400, "Modality.*MG"),
    "lateral": (lambda: dicom(ViewPosition="LL"), DICOM, 400, "ViewPosition.*LL"),
    "hand": (lambda: dicom(BodyPartExamined="HAND"), DICOM, 400, "BodyPartExamined.*HAND"),
    "animal": (lambda: dicom(PatientSpeciesDescription="Canis lupus familiaris"), DICOM, 400, "animal"),
    "without-modality": (lambda: dicom(Modality=None), DICOM, 400, "Modality"),
    "several-frames": (lambda: dicom(NumberOfFrames=2, PixelData=pixels().tobytes() * 2), DICOM, 400, "Frames"),
    "unsupported-syntax": (unsupported_syntax, DICOM, 415, "transfer syntax"),
    "unknown-syntax": (lambda: dicom_with_syntax("1.2.999.31337"), DICOM, 415, "transfer syntax"),
    "wrong-type": (png, "text/plain", 415, "image/png"),
    "tiff-type": (png, "image/tiff", 415, "image/png"),
    "form-url-encoded": (lambda: b"film=1", "application/x-www-form-urlencoded", 415, "image/png"),
    "text-without-a-type": (lambda: b"a film of the chest, please", None, 400, "neither"),
    "png-called-jpeg": (png, JPEG, 415, "PNG"),
    "jpeg-called-png": (jpeg, PNG, 415, "JPEG"),
    "png-called-dicom": (png, DICOM, 415, "PNG"),
    "dicom-called-png": (dicom, PNG, 415, "DICOM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_input_is_refused_and_the_next_is_served(service: Served, name: str) -> None:
    make, media_type, status, word = REFUSED[name]
    response = service.post(make(), media_type)
    body = assert_problem(response, status)
    assert body["title"] != "rejected as adversarial"
    assert any(_mentions(body["detail"], part) for part in word.split("|")), body["detail"]
    assert "retry-after" not in response.headers  # a permanent refusal never looks like a passing fault
    assert_accepted(service.post(png()))


def _mentions(detail: str, word: str) -> bool:
    position = 0
    for part in word.split(".*"):
        found = detail.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return True


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_input_is_never_422_even_where_all_is_rejected(rejecting: Served, name: str) -> None:
    make, media_type, status, _ = REFUSED[name]
    assert_problem(rejecting.post(make(), media_type), status)


def test_the_uid_of_an_unknown_syntax_is_not_repeated(service: Served) -> None:
    assert "1.2.999.31337" not in service.post(dicom_with_syntax("1.2.999.31337"), DICOM).text


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP"])
def test_compressed_bodies_are_refused(service: Served, encoding: str) -> None:
    body = assert_problem(service.post(gzip.compress(png()), Content_Encoding=encoding), 415)
    assert "Content-Encoding" in body["detail"]
    assert_accepted(service.post(png()))
    assert_accepted(service.post(png(), Content_Encoding="identity"))


def _form(*parts: tuple[str, bytes, str | None], end: bytes = b"--edge--\r\n") -> bytes:
    body = b""
    for name, content, filename in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        body += f"--edge\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + end


EDGE = "multipart/form-data; boundary=edge"
FORMS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no-boundary": (lambda: _form(("file", png(), "a.png")), "multipart/form-data"),
    "other-boundary": (lambda: _form(("file", png(), "a.png")), "multipart/form-data; boundary=other"),
    "no-file-part": (lambda: _form(("comment", b"hello", None)), EDGE),
    "file-under-another-name": (lambda: _form(("film", png(), "a.png")), EDGE),
    "file-as-a-plain-field": (lambda: _form(("file", b"hello", None)), EDGE),
    "two-files": (lambda: _form(("file", png(1), "a.png"), ("file", png(2), "b.png")), EDGE),
    "two-files-of-two-names": (lambda: _form(("file", png(1), "a.png"), ("other", png(2), "b.png")), EDGE),
    "a-field-besides": (lambda: _form(("comment", b"hello", None), ("file", png(), "a.png")), EDGE),
    "no-part": (lambda: _form(), EDGE),
    "empty-body": (lambda: b"", EDGE),
    "not-a-form": (png, EDGE),
    "cut-short": (lambda: _form(("file", png(), "a.png"), end=b"")[:-200], EDGE),
    "empty-file": (lambda: _form(("file", b"", "a.png")), EDGE),
    "text-file": (lambda: _form(("file", b"hello", "a.png")), EDGE),
    "truncated-file": (lambda: _form(("file", half(png), "a.png")), EDGE),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_malformed_form_is_refused(service: Served, name: str) -> None:
    make, media_type = FORMS[name]
    assert_problem(service.post(make(), media_type), 400)
    assert_accepted(service.client.post("/v1/score", files={"file": ("a.png", png(), "image/png")}))


def test_a_dogs_thorax_gets_no_probabilities(service: Served, shared_data: Path) -> None:
    data = (shared_data / "dicom" / "dx_dog_thorax_monochrome1.dcm").read_bytes()
    assert_problem(service.post(data, DICOM), 400)
    assert_accepted(service.post(png()))


def test_a_ribcage_film_names_the_tag(service: Served, shared_data: Path) -> None:
    data = (shared_data / "dicom" / "dx_ribcage_same_film.dcm").read_bytes()
    assert "BodyPartExamined" in assert_problem(service.post(data, DICOM), 400)["detail"]
