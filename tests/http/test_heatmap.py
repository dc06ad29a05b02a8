"""Score and heatmap in one answer, heatmaps that show nothing, and that looking at a film is no decision."""

from __future__ import annotations

import base64
import io
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from pydicom.uid import generate_uid

from app.cli import main
from app.pipeline.heatmap import Heatmap
from app.pipeline.labels import LABELS
from app.records import open_record
from tests.http.stowing import counted
from tests.results.films import film
from tests.support.films import dicom, png
from tests.support.served import Served, assert_accepted, assert_problem
from tests.support.told import Told, told

Start = Callable[..., AbstractContextManager[Served]]
PNG, DICOM = "image/png", "application/dicom"
HEADER = "x-heatmap-localised"
STANDS_OUT, NOTHING = Heatmap(np.eye(7, dtype=np.float32), 0.1), Heatmap(np.eye(7, dtype=np.float32), 9.0)
#: What a judgement moves.
JUDGEMENTS = (
    "cxr_decisions_total",
    "cxr_calls_total",
    "cxr_log_density_margin_nats_count",
    "cxr_clean_percentile_ratio_count",
)


def post(client: httpx.Client, path: str, sent: bytes, kind: str = PNG, accept: str = "") -> httpx.Response:
    return client.post(path, content=sent, headers={"Content-Type": kind, **({"Accept": accept} if accept else {})})


def clear(picture: bytes) -> bool:
    with Image.open(io.BytesIO(picture)) as opened:
        return not np.asarray(opened)[..., 3].any()


# One request for both.


def test_one_request_gives_what_two_gave(service: Served) -> None:
    sent = png(21)
    scored = assert_accepted(service.post(sent))
    explained = post(service.client, "/v1/explain?finding=Effusion", sent)
    both = post(service.client, "/v1/score?heatmap=Effusion", sent).json()
    heatmap = both.pop("heatmap")
    assert "heatmap" not in scored
    assert both.keys() == scored.keys()
    for name in scored.keys() - {"request_id"}:
        assert both[name] == scored[name]
    assert heatmap["finding"] == "Effusion"
    assert base64.b64decode(heatmap["png"]) == explained.content
    assert explained.headers[HEADER] == str(heatmap["localised"]).lower()


def test_a_rejected_film_has_no_heatmap(rejecting: Served) -> None:
    answer = post(rejecting.client, "/v1/score?heatmap=Mass", png(22))
    assert assert_problem(answer, 422)["title"] == "rejected as adversarial"
    assert b"png" not in answer.content
    assert HEADER not in post(rejecting.client, "/v1/explain?finding=Mass", png(22)).headers


@pytest.mark.parametrize("value", ["", "mass", "Doe^Jane"])
def test_a_heatmap_of_no_finding_is_refused(service: Served, value: str) -> None:
    problem = assert_problem(post(service.client, f"/v1/score?heatmap={value}", png()), 400)
    assert "the query parameter heatmap must be one of Atelectasis" in problem["detail"]
    assert "Doe" not in problem["detail"]


def test_a_report_has_no_room_for_a_heatmap(service: Served) -> None:
    answer = post(service.client, "/v1/score?heatmap=Mass", dicom(), DICOM, accept=DICOM)
    assert "/v1/explain" in assert_problem(answer, 406)["detail"]
    for both in (f"{DICOM}, application/json", f"{DICOM};q=0.5, */*"):  # a heatmap is asked for, so it is JSON
        answer = post(service.client, "/v1/score?heatmap=Mass", dicom(), DICOM, accept=both)
        assert answer.json()["heatmap"]["finding"] == "Mass"


def test_openapi_knows_it(service: Served) -> None:
    document = service.get("/openapi.json").json()
    operation = document["paths"]["/v1/score"]["post"]
    (parameter,) = [each for each in operation["parameters"] if each["name"] == "heatmap"]
    assert (parameter["in"], parameter["required"]) == ("query", False)
    schemas = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert {schema["$ref"].rpartition("/")[2] for schema in schemas} == {"Accepted", "AcceptedWithHeatmap"}
    headers = document["paths"]["/v1/explain"]["post"]["responses"]["200"]["headers"]
    assert "X-Heatmap-Localised" in headers


# Nothing to show.


@pytest.fixture
def shown(accepting_bundle: Path) -> Iterator[tuple[Told, list[Heatmap]]]:
    """A service that shows what the list holds."""
    held = [STANDS_OUT]
    with told(accepting_bundle) as running:
        running.screener.heatmap = lambda: held[0]
        yield running, held


def test_it_is_said_where_no_place_stands_out(shown: tuple[Told, list[Heatmap]]) -> None:
    running, held = shown
    for heatmap in (STANDS_OUT, NOTHING):
        held[0] = heatmap
        stands_out = heatmap is STANDS_OUT
        alone = post(running.client, "/v1/explain?finding=Mass", png())
        assert alone.headers[HEADER] == ("true" if stands_out else "false")
        assert clear(alone.content) is not stands_out
        capture = post(running.client, "/v1/explain?finding=Mass", film(), DICOM, accept=DICOM)
        assert (capture.status_code, capture.headers[HEADER]) == (200, alone.headers[HEADER])
        told_of = post(running.client, "/v1/score?heatmap=Mass", png()).json()["heatmap"]
        assert told_of["localised"] is stands_out
        assert clear(base64.b64decode(told_of["png"])) is not stands_out
        assert "Mass" in told_of["text"]
        assert ("no place of the film stands out" in told_of["text"]) is not stands_out
    (version,) = {labels[1] for labels in counts(running, "cxr_heatmaps_total")}
    assert counts(running, "cxr_heatmaps_total") == {("yes", version): 3, ("no", version): 3}


def counts(running: Told, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(running.client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


# Looking at a film is no decision.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


def kept_in(folder: Path) -> dict[str, str]:
    return {"CXR_RECORD_URL": f"sqlite:///{folder}/record.sqlite", "CXR_RECORD_KEY_FILE": f"{folder}/record.key"}


@pytest.fixture(scope="module")
def recording(start: Start, folder: Path) -> Iterator[Served]:
    with start(**kept_in(folder)) as served:
        yield served


def entries(folder: Path, answer: httpx.Response) -> list[dict[str, Any]]:
    connection = sqlite3.connect(folder / "record.sqlite")
    connection.row_factory = sqlite3.Row
    try:
        found = connection.execute(
            "SELECT * FROM entries WHERE request_id = ? ORDER BY id", (answer.headers["x-request-id"],)
        )
        return [dict(row) for row in found]
    finally:
        connection.close()


def judgements(service: Served, folder: Path) -> dict[str, Any]:
    """All that a judgement moves: counters, and the decisions that ``/v1/decisions`` shows to operators."""
    record = open_record(kept_in(folder)["CXR_RECORD_URL"], folder / "record.key")
    decisions = record.decided({}, None, 500)
    record.close()
    return {**{name: counted(service, name) for name in JUDGEMENTS}, "decisions": decisions}


@pytest.mark.parametrize("kind", [PNG, DICOM])
def test_a_heatmap_of_a_film_that_was_judged_is_no_decision(recording: Served, folder: Path, kind: str) -> None:
    sent = png(23) if kind == PNG else film(SOPInstanceUID=generate_uid())
    (judged,) = entries(folder, recording.post(sent, kind))
    before = judgements(recording, folder)
    given = sum(counted(recording, "cxr_heatmaps_total").values())
    for finding, accept in (("Mass", ""), ("Effusion", ""), ("Mass", DICOM if kind == DICOM else "")):
        answer = post(recording.client, f"/v1/explain?finding={finding}", sent, kind, accept)
        assert answer.status_code == 200
        (entry,) = entries(folder, answer)
        assert (entry["kind"], entry["repeat_of"], entry["probabilities"]) == ("explained", judged["id"], None)
        assert (entry["route"], entry["verdict"], entry["caller"]) == ("/v1/explain", "accepted", "anonymous")
        for same in ("pixels_hash", "instance_hash", "model_version", "log_density"):
            assert entry[same] == judged[same]
    assert judgements(recording, folder) == before
    assert sum(counted(recording, "cxr_heatmaps_total").values()) == given + 3
    url, key = kept_in(folder).values()
    assert main(["verify-record", "--url", url, "--key-file", key]) == 0


def test_a_heatmap_of_a_film_that_was_never_judged_is_one_decision(recording: Served, folder: Path) -> None:
    before = judgements(recording, folder)
    first, second = (post(recording.client, "/v1/explain?finding=Mass", png(24)) for _ in range(2))
    assert [entry["kind"] for entry in entries(folder, first)] == ["judged"]
    assert [entry["kind"] for entry in entries(folder, second)] == ["explained"]
    after = judgements(recording, folder)
    (decision,) = (each for each in after["decisions"] if each not in before["decisions"])
    assert decision.request_id == first.headers["x-request-id"]
    assert sum(after["cxr_decisions_total"].values()) == sum(before["cxr_decisions_total"].values()) + 1
    assert sum(after["cxr_calls_total"].values()) == sum(before["cxr_calls_total"].values()) + len(LABELS)


def test_other_pixels_under_the_same_uid_are_judged(recording: Served, folder: Path) -> None:
    """An attacker who changes the film asks about another film, whatever its header says."""
    uid = generate_uid()
    assert_accepted(recording.post(dicom(25, SOPInstanceUID=uid), DICOM))
    answer = post(recording.client, "/v1/explain?finding=Mass", dicom(26, SOPInstanceUID=uid), DICOM)
    assert [entry["kind"] for entry in entries(folder, answer)] == ["judged"]


def test_score_and_heatmap_together_are_one_decision(recording: Served, folder: Path) -> None:
    before = judgements(recording, folder)
    answer = post(recording.client, "/v1/score?heatmap=Mass", png(27))
    (entry,) = entries(folder, answer)
    assert (entry["kind"], entry["route"]) == ("judged", "/v1/score")
    assert len(judgements(recording, folder)["decisions"]) == len(before["decisions"]) + 1


def test_each_rejection_is_a_decision_also_where_a_heatmap_was_asked_for(rejecting: Served) -> None:
    """What the gate refuses gives no heatmap, so there is no looking at it; and whoever tries again and again is counted."""

    def rejected() -> float:
        found = counted(rejecting, "cxr_decisions_total")
        return sum(value for labels, value in found.items() if "rejected" in labels)

    before = rejected()
    for _ in range(3):
        assert post(rejecting.client, "/v1/explain?finding=Mass", png(28)).status_code == 422
    assert rejected() == before + 3
