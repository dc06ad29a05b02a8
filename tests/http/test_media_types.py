"""Content-Type as senders write it: synonyms, types that say nothing, and types that the bytes contradict."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import RLELossless

from tests.support.films import dataset, dicom, half, jpeg, part10, png
from tests.support.served import Served, assert_accepted, assert_problem, read_answer

DICOM = "application/dicom"
FORM = "multipart/form-data; boundary=edge"


@pytest.mark.parametrize("content_type", ["image/x-png", "image/x-citrix-png", "IMAGE/PNG", "image/png; name=a.png"])
def test_other_names_of_png(service: Served, content_type: str) -> None:
    assert assert_accepted(service.post(png(), content_type))["source_kind"] == "png"


@pytest.mark.parametrize("content_type", ["image/jpg", "image/pjpeg", "image/x-citrix-jpeg", "image/JPG;q=1"])
def test_other_names_of_jpeg(service: Served, content_type: str) -> None:
    assert assert_accepted(service.post(jpeg(), content_type))["source_kind"] == "jpeg"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-dicom",
        "image/dicom",
        "Application/DICOM",
        "application/dicom;",
        "application/dicom ; transfer-syntax=1.2.840.10008.1.2.1",
        'application/dicom; transfer-syntax="1.2.840.10008.1.2.1"',
        "application/dicom; transfer-syntax='1.2.840.10008.1.2.1'",
        'application/dicom; transfer-syntax="1.2.840.10008.1.2.1',
        'application/dicom; transfer-syntax=1.2.840.10008.1.2.1"; charset="a;b"',
        "application/dicom; transfer-syntax=*",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.70",  # the file's own meta header says otherwise, and holds
        "application/dicom; charset=",
    ],
)
def test_other_names_of_dicom_and_its_parameters(service: Served, content_type: str) -> None:
    assert assert_accepted(service.post(dicom(), content_type))["source_kind"] == "dicom"


SILENT = [
    None,
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "image/*",
    "*/*",
    "application/x-www-form-urlencoded",
]


@pytest.mark.parametrize("content_type", SILENT)
def test_where_the_type_says_nothing_the_signature_tells(service: Served, content_type: str | None) -> None:
    for film, kind in [(png(), "png"), (jpeg(), "jpeg"), (dicom(), "dicom")]:
        assert assert_accepted(service.post(film, content_type))["source_kind"] == kind
    body = assert_problem(
        service.post(b"a film of the chest, please", content_type), 415 if _url_encoded(content_type) else 400
    )
    assert "image/png, image/jpeg or application/dicom" in body["detail"] or "PNG, JPEG nor DICOM" in body["detail"]
    assert "empty" in assert_problem(service.post(b"", content_type), 400)["detail"]


def _url_encoded(content_type: str | None) -> bool:
    return content_type == "application/x-www-form-urlencoded"


def test_curl_without_a_type(service: Served, tmp_path: Path) -> None:
    """curl's own defaults, of which --data spoils the file and --data-binary does not."""
    (tmp_path / "film.png").write_bytes(png())

    def curl(*options: str) -> str:
        name = shutil.which("curl")
        assert name
        address = f"http://127.0.0.1:{service.port}/v1/score"
        return subprocess.run(
            [name, "-s", *options, address], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    for options in (["--data-binary", "@film.png"], ["-T", "film.png", "-X", "POST"], ["-F", "file=@film.png"]):
        assert '"verdict":"accepted"' in curl(*options), options
    spoilt = curl("--data", "@film.png")
    assert '"status":415' in spoilt
    assert "--data-binary" in spoilt


@pytest.mark.parametrize(
    ("content_type", "make", "right"),
    [
        ("image/png", dicom, DICOM),
        ("image/jpg", png, "image/png"),
        ("image/x-png", jpeg, "image/jpeg"),
        (DICOM, png, "image/png"),
        ("application/x-dicom", jpeg, "image/jpeg"),
    ],
)
def test_a_type_that_the_bytes_contradict_is_refused_with_the_right_one(
    service: Served, content_type: str, make: Callable[[], bytes], right: str
) -> None:
    body = assert_problem(service.post(make(), content_type), 415)
    assert body["detail"].endswith(right)
    part = ("film", make(), content_type)
    assert assert_problem(service.client.post("/v1/score", files={"file": part}), 415)["detail"].endswith(right)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "image/tiff", "video/mpeg", "film", "application/zip"]
)
def test_other_types_are_told_what_to_send(service: Served, content_type: str) -> None:
    for response in (
        service.post(png(), content_type),
        service.client.post("/v1/score", files={"file": ("film", png(), content_type)}),
    ):
        detail = assert_problem(response, 415)["detail"]
        assert "send image/png, image/jpeg or application/dicom" in detail
        assert "curl -F file=@film.dcm" in detail


def test_a_store_request_at_the_wrong_path_is_told_the_right_one(service: Served) -> None:
    response = service.post(dicom(), 'multipart/related; type="application/dicom"; boundary=x')
    assert "/dicomweb/studies" in assert_problem(response, 415)["detail"]


# Forms.


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "image/*"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "dicom"])
def test_a_part_that_declares_nothing_is_told_by_its_signature(
    service: Served, content_type: str | None, kind: str
) -> None:
    film = {"png": png, "jpeg": jpeg, "dicom": dicom}[kind]()
    declared = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n{declared}\r\n'
    response = service.post(head.encode() + film + b"\r\n--edge--\r\n", FORM)
    assert assert_accepted(response)["source_kind"] == kind


@pytest.mark.parametrize(
    "files",
    [
        [("film", ("a.png", png(), "image/png"))],
        [("file", ("a.png", png(), "image/png")), ("file", ("b.png", png(1), "image/png"))],
        [("file", ("a.png", png(), "image/png")), ("lateral", ("b.png", png(1), "image/png"))],
        [("file", (None, b"a film", "text/plain"))],
        [("file", ("a.png", png(), "image/png")), ("comment", (None, b"hello", None))],
    ],
    ids=["another-name", "two-files", "two-files-of-two-names", "no-file", "a-field-besides"],
)
def test_another_form_is_told_to_send_one_file(service: Served, files: list[object]) -> None:
    detail = assert_problem(service.client.post("/v1/score", files=files), 400)["detail"]
    assert "one part and no other, a file named 'file'" in detail


# Bytes of two formats at once.


def preamble_of_png() -> bytes:
    """A DICOM film with a PNG's signature and header in its preamble, which PS3.10 leaves to the sender."""
    return png()[:128] + dicom()[128:]


def preamble_of_jpeg() -> bytes:
    return jpeg()[:128] + dicom()[128:]


def png_with_dicm() -> bytes:
    """A whole PNG whose bytes 128 to 131 are those of a DICOM file: inside a text chunk, which decoders pass over."""
    made = png()
    text = b"Comment\0" + b"-" * (128 - 33 - 8 - 8) + b"DICM" + b"-" * 8
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    assert made[12:16] == b"IHDR"
    return made[:33] + chunk + made[33:]


def test_the_declared_type_chooses_the_decoder(service: Served) -> None:
    plain = assert_accepted(service.post(dicom(), DICOM))
    for film in (preamble_of_png(), preamble_of_jpeg()):
        assert film[128:132] == b"DICM"
        answer = assert_accepted(service.post(film, DICOM))
        assert (answer["source_kind"], answer["probabilities"]) == (
            "dicom",
            pytest.approx(plain["probabilities"], abs=1e-5),
        )
        answer = assert_accepted(service.client.post("/v1/score", files={"file": ("a", film, DICOM)}))
        assert answer["source_kind"] == "dicom"
    compressed = dataset()
    compressed.compress(RLELossless)  # decoded in a process of its own
    answer = assert_accepted(service.post(png()[:128] + part10(compressed)[128:], DICOM))
    assert answer["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-5)
    polyglot = png_with_dicm()
    assert polyglot[128:132] == b"DICM"
    assert assert_accepted(service.post(polyglot, "image/png"))["source_kind"] == "png"
    assert_problem(service.post(polyglot, DICOM), 400)
    # What follows the preamble is no PNG: it is decoded as declared, and refused as that.
    assert_problem(service.post(preamble_of_png(), "image/png"), 400)


@pytest.mark.parametrize("content_type", [None, "application/octet-stream"])
@pytest.mark.parametrize("make", [preamble_of_png, preamble_of_jpeg, png_with_dicm])
def test_bytes_of_two_formats_are_not_guessed_at(
    service: Served, make: Callable[[], bytes], content_type: str | None
) -> None:
    detail = assert_problem(service.post(make(), content_type), 400)["detail"]
    assert "DICOM at once" in detail
    assert "Content-Type" in detail


def test_a_cut_film_is_refused_for_being_cut_under_any_name(service: Served) -> None:
    for content_type in ("image/jpg", "application/octet-stream", "application/x-www-form-urlencoded"):
        assert assert_problem(service.post(half(jpeg), content_type), 400)["type"] == "/problems/malformed-image"


# Refused by the head.


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/related; type=x"])
def test_a_wrong_type_is_refused_before_the_body_is_sent(service: Served, content_type: str) -> None:
    head = (
        f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: 1000\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    with service.connect() as connection:
        connection.sendall(head.encode())
        assert read_answer(connection)[0] == 415
