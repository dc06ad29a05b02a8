"""POST /dicomweb/studies: one answer an instance, and repeats answered from the record."""

from __future__ import annotations

import io
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from requests import HTTPError

from app.pipeline.labels import LABELS
from tests.http.stowing import (
    BOUNDARY,
    CONTENT_TYPE,
    DICOM_JSON,
    STUDIES,
    answer_of,
    counted,
    failed,
    post,
    reasons,
    related,
    scored,
    stow,
    told,
)
from tests.results.films import run_tool
from tests.support.films import dataset, dicom, half, part10, png, unsupported_syntax
from tests.support.served import Served, assert_accepted, assert_problem, read_answer
from tests.support.told import Told
from tests.support.told import told as serving_told
from tests.support.waiting import eventually

Start = Callable[..., AbstractContextManager[Served]]


def film(seed: int = 0, **tags: Any) -> bytes:
    return dicom(seed, **({"StudyInstanceUID": generate_uid()} | tags))


# What an instance gets.


def test_a_film_gets_its_probabilities_in_the_standards_answer(service: Served) -> None:
    made = dataset(1, StudyInstanceUID=generate_uid(), WindowCenter=128, WindowWidth=256)
    answer = answer_of(stow(service, part10(made)), 200)
    (item,) = scored(answer)
    assert item.ReferencedSOPClassUID == DigitalXRayImageStorageForPresentation
    assert item.ReferencedSOPInstanceUID == made.SOPInstanceUID
    assert item["RetrieveURL"].is_empty  # required by PS3.18 table I.1-1, and nothing can be retrieved
    assert "FailedSOPSequence" not in answer
    assert "OtherFailuresSequence" not in answer
    direct = assert_accepted(service.post(part10(made), "application/dicom"))
    said = told(item)
    assert (said[1], said[2], said[6], said[9]) == ("ACCEPTED", direct["model_version"], "SCORED", 1)
    assert tuple(said[3]) == LABELS
    assert dict(zip(said[3], said[4], strict=True)) == pytest.approx(direct["probabilities"], abs=1e-5)
    assert said[5] == "window applied (LINEAR): center 128, width 256"


def test_the_gates_rejection_is_a_failure_with_a_reason_of_its_own(rejecting: Served) -> None:
    response = stow(rejecting, film())
    (item,) = failed(answer_of(response, 409))
    assert item.FailureReason == 0xC422
    said = told(item)
    assert (said[1], said[6], said[7]) == ("REJECTED", "SCORED", "/problems/rejected-as-adversarial")
    assert "person" in said[8]
    assert 3 not in said
    assert 4 not in said
    repeated = stow(rejecting, *[film(7, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2")] * 2)
    assert sorted(told(item)[6] for item in failed(answer_of(repeated, 409))) == ["RECORD", "SCORED"]


def test_one_bad_instance_fails_alone_and_each_says_why(service: Served) -> None:
    films = {
        "good": film(1),
        "truncated": half(film),
        "hand": film(2, BodyPartExamined="HAND"),
        "syntax": unsupported_syntax(),
        "too many pixels": film(3, Rows=9000, Columns=9000),
        "magnetic resonance": film(4, SOPClassUID=MRImageStorage, Modality="MR"),
        "also good": film(5),
    }
    answer = answer_of(stow(service, *films.values()), 202)
    assert [told(item)[9] for item in scored(answer)] == [1, 7]
    assert reasons(answer) == [0xC000, 0xC400, 0xC122, 0xC413, 0x0122]
    assert [told(item)[1] for item in failed(answer)] == ["NONE"] * 5
    assert [item.ReferencedSOPInstanceUID for item in failed(answer)] == [
        dcmread(io.BytesIO(films[name]), stop_before_pixels=True).SOPInstanceUID
        for name in ("truncated", "hand", "syntax", "too many pixels", "magnetic resonance")
    ]
    assert "BodyPartExamined" in told(failed(answer)[1])[8]
    for item in failed(answer):
        assert told(item)[7].startswith("/problems/")
        assert service.get(told(item)[7]).status_code == 200


def test_parts_without_readable_identity_are_other_failures(service: Served) -> None:
    nameless = dataset(1)
    del nameless.SOPInstanceUID
    data = part10_without_instance(nameless)
    answer = answer_of(stow(service, b"", b"DICM", png(), data, film()), 202)
    others = answer.OtherFailuresSequence
    assert [(item.FailureReason, told(item)[9]) for item in others] == [(0xC000, n) for n in (1, 2, 3, 4)]
    assert all("SOPInstanceUID (0008,0018)" in told(item)[8] for item in others)
    assert len(scored(answer)) == 1


def part10_without_instance(made: Any) -> bytes:
    """A file whose meta header has no MediaStorageSOPInstanceUID either, which pydicom would not write."""
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data = part10(made)
    assert data.count(b"1.2.3.4\0") == 2
    return data.replace(b"1.2.3.4\0", b"        ")


def test_a_damaged_data_set_is_named_by_its_meta_header(service: Served) -> None:
    data = film()
    cut = data[: data.index(b"\x08\x00\x16\x00")]
    (item,) = failed(answer_of(stow(service, cut), 409))
    assert item.ReferencedSOPInstanceUID.encode() in data
    assert told(item)[1] == "NONE"


def test_another_study_than_the_paths_is_reported_for_its_instance(service: Served) -> None:
    mine, other = generate_uid(), generate_uid()
    films = [film(1, StudyInstanceUID=mine), film(2, StudyInstanceUID=other), film(3, StudyInstanceUID=None)]
    answer = answer_of(stow(service, *films, path=f"{STUDIES}/{mine}"), 202)
    assert [told(item)[9] for item in scored(answer)] == [1]
    assert reasons(answer) == [0xA901, 0xA901]
    assert "StudyInstanceUID (0020,000D)" in told(failed(answer)[0])[8]
    assert other not in str(told(failed(answer)[0]))
    answer_of(stow(service, films[1], path=f"{STUDIES}/{mine}"), 409)


def test_a_part_of_another_type_fails_alone(service: Served) -> None:
    body = related([film(1)]).removesuffix(f"--{BOUNDARY}--\r\n".encode()) + related([png()], "image/png")
    answer = answer_of(post(service, body), 202)
    assert len(scored(answer)) == 1
    assert answer.OtherFailuresSequence[0].FailureReason == 0xC415


def test_parts_without_a_type_are_taken_for_dicom(service: Served) -> None:
    answer_of(post(service, related([film(1)], None)), 200)


def test_what_is_not_judged_is_counted_by_its_reason(service: Served) -> None:
    def not_judged() -> Counter[tuple[str, ...]]:
        return Counter({key: n for key, n in counted(service, "cxr_decisions_total").items() if "not_judged" in key})

    before = not_judged()
    stow(service, film(28), film(29)[:2000], film(30, Modality="CT"), b"no DICOM at all")
    grown = not_judged() - before
    assert sorted((key[2], key[3], n) for key, n in grown.items()) == [
        ("malformed-image", "dicom", 1),
        ("malformed-image", "unknown", 1),
        ("unsuitable-image", "dicom", 1),
    ]


# The record.


def test_a_repeat_is_answered_from_the_record(service: Served) -> None:
    data = film(21)
    before, decisions = counted(service, "cxr_store_instances_total"), counted(service, "cxr_decisions_total")
    (first,), (second,) = (scored(answer_of(stow(service, data), 200)) for _ in range(2))
    assert (told(first)[6], told(second)[6]) == ("SCORED", "RECORD")
    assert told(first)[4] == told(second)[4]
    after = counted(service, "cxr_store_instances_total")
    grown = {key: after[key] - before.get(key, 0) for key in after}
    assert {key: value for key, value in grown.items() if value} == {("scored",): 1, ("from_record",): 1}
    judged = sum(counted(service, "cxr_decisions_total").values()) - sum(decisions.values())
    assert judged == 1


def test_twins_at_the_same_moment_are_judged_once(service: Served) -> None:
    data = film(22)
    with ThreadPoolExecutor(4) as pool:
        answers = [
            answer_of(each.result(), 200) for each in [pool.submit(stow, service, *[data] * 3) for _ in range(4)]
        ]
    items = [item for answer in answers for item in scored(answer)]
    assert sorted(told(item)[6] for item in items) == ["RECORD"] * 11 + ["SCORED"]
    assert len({tuple(told(item)[4]) for item in items}) == 1


def test_the_same_uid_with_other_pixels_or_another_window_is_scored(service: Served) -> None:
    uid = generate_uid()
    films = [film(23, SOPInstanceUID=uid), film(24, SOPInstanceUID=uid)]
    films += [film(23, SOPInstanceUID=uid, WindowCenter=110, WindowWidth=200), film(23)]
    for data in films:
        (item,) = scored(answer_of(stow(service, data), 200))
        assert told(item)[6] == "SCORED"


def test_the_same_uid_and_pixels_with_a_tag_that_forbids_is_refused(service: Served) -> None:
    uid = generate_uid()
    answer_of(stow(service, film(25, SOPInstanceUID=uid)), 200)
    (item,) = failed(answer_of(stow(service, film(25, SOPInstanceUID=uid, BodyPartExamined="RIBCAGE")), 409))
    assert item.FailureReason == 0xC400
    assert "RIBCAGE" in told(item)[8]


def test_real_films_that_share_a_uid_are_told_apart(service: Served, shared_data: Path) -> None:
    def changed(name: str, uid: str | None = None) -> bytes:
        made = dcmread(shared_data / "dicom" / f"{name}.dcm")
        if uid:
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
        buffer = io.BytesIO()
        made.save_as(buffer)
        return buffer.getvalue()

    uid = generate_uid()
    names = ["cr_chest_15bit_monochrome1", "cr_chest_15bit_j2k_lossless", "cr_chest_15bit_j2k_lossy"]
    films = [changed(name, uid) for name in names]
    # These two do share one, as they are.
    films += [changed(name) for name in ("dx_chest_no_finding", "dx_ribcage_same_film")]
    answers = [stow(service, data) for data in films]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 409]
    from_where = [told(scored(answer_of(answer, 200))[0])[6] for answer in answers[:4]]
    # Lossless is the same film, to the bit; lossy is another.
    assert from_where == ["SCORED", "RECORD", "SCORED", "SCORED"]
    again = answer_of(stow(service, *films), 202)
    assert [told(item)[6] for item in scored(again)] == ["RECORD"] * 4


# Clients.


def test_dicomweb_client_reads_the_answer(service: Served) -> None:
    client = DICOMwebClient(f"http://127.0.0.1:{service.port}/dicomweb", chunk_size=50_000)  # the body goes in chunks
    study = generate_uid()
    films = [dcmread(io.BytesIO(film(seed, StudyInstanceUID=study))) for seed in (31, 32)]
    answer = client.store_instances(films, study)
    assert [item.ReferencedSOPInstanceUID for item in scored(answer)] == [each.SOPInstanceUID for each in films]
    assert [len(told(item)[4]) for item in scored(answer)] == [len(LABELS), len(LABELS)]
    films[1].BodyPartExamined = "HAND"
    answer = client.store_instances(films)
    assert (len(scored(answer)), reasons(answer)) == (1, [0xC400])
    with pytest.raises(HTTPError, match="409") as refused:
        client.store_instances(films[1:])
    assert refused.value.response.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC400]


# Requests as a whole.


@pytest.mark.parametrize(
    "content_type",
    [
        CONTENT_TYPE,
        f"Multipart/Related;boundary={BOUNDARY};type=application/dicom",
        f'multipart/related; type="Application/DICOM"; boundary="{BOUNDARY}"; start="<x>"',
    ],
)
def test_spellings_of_the_content_type(service: Served, content_type: str) -> None:
    answer_of(post(service, related([film(1)]), Content_Type=content_type), 200)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("application/dicom", 415),
        ("multipart/form-data; boundary=x", 415),
        (f"multipart/related; boundary={BOUNDARY}", 415),
        (f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=""', 400),
        (f'multipart/related; type="application/dicom"; boundary={"x" * 201}', 400),
        ('multipart/related; type="application/dicom"; boundary=another', 400),
    ],
)
def test_a_wrong_content_type_is_a_problem(service: Served, content_type: str, status: int) -> None:
    body = assert_problem(post(service, related([film(1)]), Content_Type=content_type), status)
    assert "boundary" in body["detail"]


def test_a_compressed_body_is_415(service: Served) -> None:
    assert_problem(post(service, related([film(1)]), Content_Encoding="gzip"), 415)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        (DICOM_JSON, 200),
        ("application/*;q=0.1, text/html", 200),
        ("application/dicom+json; charset=utf-8", 200),
        ("application/dicom+xml;q=0.5, application/dicom+json;q=0.6", 200),
        ('multipart/related; type="application/dicom+xml", */*;q=0.1', 200),
        ("application/json;q=0.5, application/dicom+json", 200),
        ("application/json, application/dicom+json", 200),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", 200),  # Java's own, where a program names none
        ("application/dicom+json;q=0, text/*", 406),
        ("application/dicom", 406),
        ('multipart/related; type="application/dicom+xml"', 406),
        ("text/html", 406),
    ],
)
def test_accept(service: Served, accept: str, status: int) -> None:
    response = post(service, related([film(1)]), Accept=accept)
    if status == 406:
        assert DICOM_JSON in assert_problem(response, 406)["detail"]
    else:
        assert len(scored(answer_of(response, 200))) == 1


@pytest.mark.parametrize(
    "accept", ["application/json", "application/dicom+json;q=0, */*", "application/json, application/*;q=0.5"]
)
def test_plain_json_is_answered_as_such(service: Served, accept: str) -> None:
    response = post(service, related([film(1)]), Accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert len(scored(Dataset.from_json(response.json()))) == 1


@pytest.mark.parametrize("accept", ["application/dicom+xml", "application/dicom+xml, application/dicom+json;q=0.5"])
def test_xml_says_what_json_says(service: Served, accept: str, tmp_path: Path) -> None:
    """DCMTK is the oracle: it writes the same answer, read from JSON by pydicom, in the Native DICOM Model."""
    body = related(
        [film(1), half(film), b"no film", film(2, BodyPartExamined="HAND"), film(3, WindowCenter=9, WindowWidth=9)]
    )
    response = post(service, body, Accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (202, "application/dicom+xml")
    in_json = post(service, body).json()
    for item in in_json["00081199"]["Value"]:
        item["00991006"]["Value"] = ["SCORED"]  # the second time, from the record
    in_json["00991010"]["Value"] = [response.headers["x-request-id"]]
    plain = Dataset.from_json(in_json)
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain.file_meta.MediaStorageSOPClassUID = plain.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    plain.save_as(tmp_path / "answer.dcm", enforce_file_format=True)
    expected = run_tool("dcm2xml", "--native-format", tmp_path / "answer.dcm")
    assert tree(ElementTree.fromstring(response.content)) == tree(ElementTree.fromstring(expected))


def tree(element: ElementTree.Element) -> Any:
    """Names without their namespace, attributes, and content without the blanks of indentation; numbers as such."""
    text = (element.text or "").strip()
    number = re.fullmatch(r"[-0-9.e]+", text) and text.count(".") < 2
    return (
        element.tag.rpartition("}")[2],
        {name: value for name, value in element.attrib.items() if not name.endswith("space")},
        pytest.approx(float(text), rel=1e-6) if number else text,
        [tree(child) for child in element],
    )


def test_another_accept_is_refused_before_the_body_is_sent(service: Served) -> None:
    assert head_alone(service, Content_Length="1000", Accept="text/html") == (406, "not-acceptable")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(service: Served) -> None:
    over = str(512 * 2**20 + 1)
    assert head_alone(service, Content_Length=over) == (413, "body-too-large")
    assert head_alone(service, Content_Length=over, Expect="100-continue") == (413, "body-too-large")


def head_alone(service: Served, **headers: str) -> tuple[int, str]:
    """Status and problem of a store request of which nothing but the head comes."""
    lines = {
        "Host": "localhost",
        "Content-Type": CONTENT_TYPE,
        **{name.replace("_", "-"): v for name, v in headers.items()},
    }
    with service.connect() as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(f"POST {STUDIES} HTTP/1.1\r\n{head}\r\n".encode())
        started = time.monotonic()
        assert connection.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) != b"HTTP/1.1 100"
        status, _, text = read_answer(connection)
    assert time.monotonic() - started < 5
    return status, json.loads(text)["type"].removeprefix("/problems/")


@pytest.mark.parametrize(
    "part_type", ["application/octet-stream", "application/x-dicom", 'application/dicom; transfer-syntax="x']
)
def test_a_parts_type_that_says_no_other(service: Served, part_type: str) -> None:
    answer_of(post(service, related([film(1)], part_type)), 200)


def test_a_png_in_a_preamble_is_no_png_here(service: Served) -> None:
    (item,) = scored(answer_of(stow(service, png()[:128] + film(1)[128:]), 200))
    assert told(item)[1] == "ACCEPTED"


BAD_BODIES = {
    "empty": b"",
    "no boundary": b"DICM",
    "no part": f"--{BOUNDARY}--".encode(),
    "no closing boundary": related([film(1)])[: -len(BOUNDARY) - 6],
    "cut in a film": related([film(1)])[:20_000],
    "no header line": f"--{BOUNDARY}\r\nfilm\r\n\r\n\r\n--{BOUNDARY}--".encode(),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_malformed_body_is_400(service: Served, name: str) -> None:
    assert_problem(post(service, BAD_BODIES[name]), 400)
    assert counted(service, "cxr_waiting_requests")[()] == 0


def test_line_feeds_preamble_and_epilogue(service: Served) -> None:
    data = film(1)
    body = b"Hello\n--%s\nContent-Type: application/dicom\n\n%s\n--%s--\nBye" % (
        BOUNDARY.encode(),
        data,
        BOUNDARY.encode(),
    )
    answer_of(post(service, body), 200)


@pytest.mark.parametrize("path", ["x", "1.2.3x", "%00", "1" * 65])
def test_a_path_that_is_no_study_is_400(service: Served, path: str) -> None:
    response = stow(service, film(1), path=f"{STUDIES}/{path}")
    assert_problem(response, 400)
    assert path not in response.text


def test_other_methods_are_405(service: Served) -> None:
    response = service.get(STUDIES)
    assert_problem(response, 405)
    assert response.headers["allow"] == "POST"


def test_no_uid_reaches_the_log_or_the_metrics(service: Served) -> None:
    study, instance = generate_uid(), generate_uid()
    name = "CANARY^STORED"
    tags: dict[str, Any] = {"StudyInstanceUID": study, "SOPInstanceUID": instance, "PatientName": name}
    told_text = ""
    for data in (film(1, **tags), film(1, **tags, BodyPartExamined="HAND"), half(lambda: film(1, **tags))):
        response = stow(service, data, path=f"{STUDIES}/{study}")
        told_text += response.text.replace(instance, "")
        assert study not in response.text
    told_text += service.logged() + service.get("/metrics").text
    assert not [secret for secret in (study, instance, "CANARY") if secret in told_text]
    routes = [json.loads(line).get("route") for line in service.logged().splitlines()]
    assert f"{STUDIES}/{{study}}" in routes


# Limits.


@pytest.fixture(scope="module")
def narrow(accepting_bundle: Path) -> Iterator[Told]:
    """Small limits, one place, and a short deadline."""
    limits = {"max_body_bytes": 80_000, "max_store_bytes": 300_000, "max_store_instances": 3, "max_waiting": 1}
    with serving_told(accepting_bundle, **limits, deadline_seconds=5) as served:
        yield served


def test_an_instance_over_the_limit_fails_alone(narrow: Told) -> None:
    answer = answer_of(stow(narrow, film(1), film(2, PixelData=bytes(100_000)), film(3)), 202)
    assert [told(item)[9] for item in scored(answer)] == [1, 3]
    assert reasons(answer) == [0xC413]
    assert "80,000" in told(failed(answer)[0])[8]


def test_too_many_instances_or_bytes_are_413(narrow: Told) -> None:
    assert "3 parts" in assert_problem(stow(narrow, *[film(1)] * 4), 413)["detail"]
    assert_problem(stow(narrow, bytes(300_000)), 413)
    body = related([bytes(300_000)])
    chunked = narrow.client.post(
        STUDIES,
        content=(body[at : at + 50_000] for at in range(0, len(body), 50_000)),
        headers={"Content-Type": CONTENT_TYPE},
    )
    assert_problem(chunked, 413)


def head(length: int) -> bytes:
    lines = f"POST {STUDIES} HTTP/1.1", "Host: localhost", f"Content-Type: {CONTENT_TYPE}", f"Content-Length: {length}"
    return "\r\n".join((*lines, "", "")).encode()


def test_while_one_sender_holds_the_only_place_another_is_told_503(narrow: Told) -> None:
    body = related([film(1), film(2)])
    with narrow.connect() as connection:
        connection.sendall(head(len(body)) + body[:1000])
        eventually(lambda: counted(narrow, "cxr_waiting_requests")[()])
        refused = stow(narrow, film(3))
        assert refused.headers["retry-after"]
        assert assert_problem(refused, 503)["type"] == "/problems/overloaded"
        connection.sendall(body[1000:])
        status, headers, _ = read_answer(connection)
        assert (status, headers["content-type"]) == (200, DICOM_JSON)  # two instances in one place, one after the other


def test_a_sender_that_stops_is_cut_off_at_the_deadline(narrow: Told) -> None:
    body = related([film(1), film(2)])
    with narrow.connect() as connection:
        connection.sendall(head(len(body)) + body[: len(body) // 2 + 1000])
        status, headers, text = read_answer(connection)
    assert (status, headers["content-type"]) == (504, "application/problem+json")
    assert json.loads(text)["type"] == "/problems/deadline-passed"
    assert_accepted(narrow.post(png()))


def test_a_sender_that_hangs_up_leaves_nothing_behind(narrow: Told) -> None:
    body = related([film(1), film(2)])
    with narrow.connect() as connection:
        connection.sendall(head(len(body)) + body[: len(body) // 2 + 1000])
    left = "the place of a sender that left is still taken"
    eventually(lambda: not counted(narrow, "cxr_waiting_requests")[()], 20, lambda: left)
    answer_of(stow(narrow, film(3)), 200)


def test_when_every_instance_meets_a_passing_fault_the_answer_is_503(accepting_bundle: Path) -> None:
    # The deadline is enough to read a small film, and too little to judge it.
    with serving_told(accepting_bundle, seconds_a_film=1, deadline_seconds=0.02) as service:
        response = stow(service, film(1), film(2))
    assert reasons(answer_of(response, 503)) == [0xA700] * 2
    assert response.headers["retry-after"]
