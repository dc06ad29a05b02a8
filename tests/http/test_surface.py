"""Everything but the score itself: problems, health, metrics, documentation, and what is kept secret."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.filereader import dcmread

from app.http.problems import PROBLEMS
from app.pipeline.labels import LABELS
from tests.support.films import dataset, dicom, half, part10, png
from tests.support.served import Served, assert_accepted, assert_problem
from tests.support.waiting import eventually

DICOM = "application/dicom"


@pytest.mark.parametrize("slug", PROBLEMS)
def test_a_problem_type_documents_itself(service: Served, slug: str) -> None:
    response = service.get(f"/problems/{slug}")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert PROBLEMS[slug].title in response.text
    assert str(PROBLEMS[slug].status) in response.text
    assert "What to do" in response.text


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(b"", "image/png"), (b"x", "text/plain"), (half(png), "image/png"), (dicom(Modality="CT"), DICOM)],
    ids=["empty", "wrong-type", "truncated", "ct"],
)
def test_the_type_of_an_answer_resolves(service: Served, data: bytes, media_type: str) -> None:
    body = service.post(data, media_type).json()
    assert body["title"] in service.get(body["type"]).text


@pytest.mark.parametrize(
    "path",
    ["/v1/nothing", "/problems/nothing", "/problems/%00", "/problems/%E2%82%AC", "/problems/%2e%2e", "/etc/passwd"],
)
@pytest.mark.parametrize("query", ["", "?a=%00&a=[]&%ff"], ids=["plain", "bad-query"])
def test_an_unknown_path_is_a_404_problem(service: Served, path: str, query: str) -> None:
    assert_problem(service.get(path + query), 404)


def test_a_bad_query_is_refused_and_harms_nothing(service: Served) -> None:
    response = service.client.post("/v1/score?%00=%ff&file[]=", content=png(), headers={"Content-Type": "image/png"})
    assert_problem(response, 400)
    assert_accepted(service.post(png()))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_a_405_problem(service: Served, method: str) -> None:
    response = service.client.request(method, "/v1/score")
    assert_problem(response, 405)
    assert response.headers["allow"] == "POST"  # RFC 9110 section 15.5.6 asks for it


def test_health_and_readiness(service: Served) -> None:
    assert service.get("/healthz").json() == {"status": "alive"}
    assert service.get("/readyz").json() == {"status": "ready"}


def test_the_model_describes_itself_without_its_threshold(service: Served) -> None:
    response = service.get("/v1/model")
    body = response.json()
    assert tuple(body["labels"]) == LABELS
    assert [finding["name"] for finding in body["findings"]] == list(LABELS)
    assert body["model_version"] == service.post(png()).json()["model_version"]
    assert body["gate"]["target_false_rejection_rate"] == 0.05
    assert set(body["limits"]) == {"max_body_bytes", "max_pixels", "deadline_seconds"}
    assert "threshold" not in body["gate"]
    assert "1000000000000000" not in response.text


def test_docs(service: Served) -> None:
    response = service.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    # Nothing is taken from elsewhere: a hospital's network may not reach it.
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", response.text)
    assert "cxr-gate" in response.text
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/"), link
        assert service.get(link).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/problems/overloaded", "/", "/ops"])
def test_every_page_has_a_policy(service: Served, path: str) -> None:
    headers = service.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy.get("script-src", "")
    assert "http" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/docs", "/problems/overloaded", "/openapi.json", "/v1/model", "/healthz", "/metrics", "/none", "/ops"]
)
def test_no_answer_is_taken_for_another_type(service: Served, path: str) -> None:
    assert service.client.get(path).headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("path", ["/v1/score/", "/dicomweb/studies/", "/docs/", "/v1/model/", "/static/page"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_answer_leads_to_a_host_that_the_request_names(service: Served, method: str, path: str) -> None:
    """Starlette's own answer to a slash too many is 307 to the host of the request, and a client sends its film there."""
    response = service.client.request(method, path, headers={"Host": "localhost:1"}, follow_redirects=False)
    assert_problem(response, 405 if response.status_code == 405 else 404)
    assert "location" not in response.headers


def test_openapi_names_every_body_and_status(service: Served) -> None:
    document = service.get("/openapi.json").json()
    score = document["paths"]["/v1/score"]["post"]
    films = {"image/png", "image/jpeg", DICOM, "application/octet-stream"}
    assert set(score["requestBody"]["content"]) == {*films, "multipart/form-data"}
    assert {"200", "400", "406", "413", "415", "422", "503", "504"} <= set(score["responses"])
    for status, described in score["responses"].items():
        expected = {"application/json" if status == "200" else "application/problem+json"}
        assert set(described["content"]) == expected | ({DICOM} if status in {"200", "422"} else set()), status


def test_openapi_gives_422_to_the_gate_alone(service: Served) -> None:
    document = service.get("/openapi.json").json()
    with_422 = {
        (path, method)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "422" in operation["responses"]
    }
    assert with_422 == {("/v1/score", "post"), ("/v1/explain", "post")}


# Metrics.


def _samples(service: Served) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = service.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def _total(samples: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return sum(
        value for (found, pairs), value in samples.items() if found == name and set(labels.items()) <= set(pairs)
    )


def test_metrics_count_what_happened(service: Served) -> None:
    before = _samples(service)
    answer = assert_accepted(service.post(png()))
    assert_problem(service.post(b""), 400)
    assert_problem(service.post(half(png)), 400)
    assert_problem(service.post(png(), "text/plain"), 415)
    assert_problem(service.post(dicom(Modality="CT"), "application/dicom"), 400)
    service.get("/no/such/path")
    after = _samples(service)

    def grown(name: str, **labels: str) -> float:
        return _total(after, name, **labels) - _total(before, name, **labels)

    assert grown("cxr_http_requests_total", route="/v1/score", status="200") == 1
    assert grown("cxr_http_requests_total", route="/v1/score", status="400") == 3
    assert grown("cxr_http_requests_total", route="unmatched", status="404") == 1
    assert grown("cxr_http_request_seconds_count", route="/v1/score") == 5
    for reason, kind in (
        ("malformed-image", "unknown"),
        ("malformed-image", "png"),
        ("unsupported-media-type", "unknown"),
        ("unsuitable-image", "dicom"),
    ):
        assert grown("cxr_decisions_total", decision="not_judged", reason=reason, source_kind=kind) == 1
    assert grown("cxr_decisions_total", decision="accepted", reason="none", source_kind="png") == 1
    assert grown("cxr_decisions_total") == 5
    assert grown("cxr_stage_seconds_count", stage="inference") == 1
    assert grown("cxr_log_density_margin_nats_count") == 1
    assert grown("cxr_clean_percentile_ratio_count") == 1
    calls = {finding: told["call"] for finding, told in answer["calls"].items()}
    assert grown("cxr_calls_total") == len(calls) == len(LABELS)
    assert all(grown("cxr_calls_total", finding=finding, call=call) == 1 for finding, call in calls.items())
    assert _total(after, "cxr_ready") == 1
    assert _total(after, "cxr_waiting_requests") == 0


def test_rejections_are_counted(rejecting: Served) -> None:
    labels = {"decision": "rejected", "reason": "rejected-as-adversarial"}
    before = _total(_samples(rejecting), "cxr_decisions_total", **labels)
    assert_problem(rejecting.post(png()), 422)
    after = _samples(rejecting)
    assert _total(after, "cxr_decisions_total", **labels) == before + 1
    assert _total(after, "cxr_calls_total") == 0


def test_metric_names_follow_prometheus(service: Served) -> None:
    families = list(text_string_to_metric_families(service.get("/metrics").text))
    for family in families:
        assert family.name.startswith("cxr_"), family.name
        assert family.documentation, family.name
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        if "second" in family.name and not family.name.endswith("_created"):  # of the client library's own making
            assert family.name.endswith("_seconds")
    assert {"counter", "histogram", "gauge"} <= {family.type for family in families}


# Secrets.


def test_nothing_of_the_patient_in_answers_logs_or_metrics(service: Served, shared_data: Path) -> None:
    name, identifier, uid = "Canaryname^Jane", "CANARYPID42", "1.2.826.0.1.3680043.8.498.31337"
    film = dcmread(shared_data / "dicom" / "dx_chest_no_finding.dcm")
    film.PatientName, film.PatientID, film.AccessionNumber = name, identifier, "CANARYACC"
    film.StudyInstanceUID = film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = uid
    buffered = part10_as_it_is(film)
    film.BodyPartExamined = "HAND"
    unsuitable = part10_as_it_is(film)
    answers = [
        service.post(buffered, DICOM),
        service.post(unsuitable, DICOM),
        service.post(buffered[:4000], DICOM),
        service.post(buffered[: len(buffered) // 2], DICOM),
        service.client.post("/v1/score", files={"file": ("CANARYFILE.dcm", buffered, DICOM)}),
        service.client.post("/v1/score", files={"file": ("CANARYFILE.png", b"text", "image/png")}),
        service.client.post("/v1/score", files={"CANARYFIELD": ("CANARYFILE.png", b"text", "image/png")}),
        service.client.post("/v1/score", files=[("file", ("CANARYFILE.png", b"x"))] * 2),
        service.client.post("/v1/score?patient=CANARYQUERY", content=b"", headers={"Content-Type": "image/png"}),
        service.post(b"x", "text/canarytype"),
        service.get("/CANARYPATH"),
        service.get("/problems/CANARYPATH"),
    ]
    assert answers[0].status_code == 200
    assert answers[1].status_code == 400
    told = "".join(answer.text + str(answer.headers) for answer in answers)
    told += service.get("/metrics").text + service.logged()
    assert not re.findall(rf"canary\w*|{re.escape(uid)}", told, re.IGNORECASE)


def part10_as_it_is(film: object) -> bytes:
    buffer = io.BytesIO()
    film.save_as(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


@pytest.mark.parametrize("keyword", ["BodyPartExamined", "ViewPosition", "Modality", "PhotometricInterpretation"])
@pytest.mark.parametrize(
    "value",
    [b"Canary^Jane Doe", b"CANARY\\JANE", b"canary\xe9", b"CANARYJANEDOE"],
    ids=["name", "two", "bytes", "word"],
)
def test_a_name_in_the_wrong_tag_is_not_repeated(service: Served, keyword: str, value: bytes) -> None:
    """A library's warnings quote the value of a tag that breaks the rules of its VR."""
    mark = b"QQQQQQQQQQQQQQQQ"
    film = dataset(**{keyword: mark.decode()})
    response = service.post(part10(film).replace(mark, value.ljust(len(mark))), DICOM)
    assert response.status_code in {200, 400}
    logged = service.logged().lower()
    assert "canary" not in logged
    if value != b"CANARYJANEDOE":  # a code string of one word is shown, to name the tag's fault
        assert "canary" not in response.text.lower()


def test_a_window_that_is_no_number_is_not_repeated(service: Served) -> None:
    data = dicom(WindowCenter="4242.4242", WindowWidth="256").replace(b"4242.4242 ", b"CANARYJANE")
    assert "canary" not in service.post(data, DICOM).text.lower()
    assert "canary" not in service.logged().lower()


def test_the_log_is_json_with_a_line_for_each_answer(service: Served) -> None:
    request_id = service.post(png()).headers["x-request-id"]
    eventually(lambda: request_id in service.logged())  # the line is written once the answer has left
    lines = [json.loads(line) for line in service.logged().splitlines()]
    mine = [line for line in lines if line.get("request_id") == request_id]
    assert [(line["status"], line["route"]) for line in mine] == [(200, "/v1/score")]
    assert quote("127.0.0.1") not in "".join(str(line) for line in mine)
