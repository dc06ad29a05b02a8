"""What the forwarder does when either side refuses, fails, is slow, or is not what it should be."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.forward.answers import open_client
from app.forward.orthanc import Orthanc as Client
from tests.orthanc.pacs import Forwarder
from tests.orthanc.standin import Answer, problem, stand_in
from tests.results.films import film
from tests.support.orthanc import USER, Orthanc
from tests.support.processes import free_port, run_command
from tests.support.waiting import eventually

OK = Answer()


def instance(patient: str, **tags: object) -> bytes:
    """A film of its own study; the stand-in knows it by its patient."""
    number = str(sum(map(ord, patient)))
    return film(PatientID=patient, StudyInstanceUID=f"1.2.3.{number}", SeriesInstanceUID=f"1.2.4.{number}", **tags)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One for all tests here; each starts the forwarder at its own first change."""
    server = Orthanc.deployed(tmp_path_factory.mktemp("pacs"))
    with server.running():
        yield server


def forwarder_from_here(folder: Path, orthanc: Orthanc, url: str, *options: str, **environment: str) -> Forwarder:
    return Forwarder(folder, orthanc, url, "--start", str(orthanc.last_change()), *options, **environment)


def reported(orthanc: Orthanc, *patients: str) -> list[str]:
    """Which of the patients have a report, once for each that there is."""
    found = orthanc.get("/dicom-web/instances", Modality="SR", includefield="00100020")
    return sorted(p for item in found if (p := item["00100020"]["Value"][0]) in patients)


def test_what_may_pass_is_tried_again_and_retry_after_is_obeyed(orthanc: Orthanc, tmp_path: Path) -> None:
    answers = [
        problem(503, "overloaded", Retry_After="3"),
        problem(504, "deadline-passed"),
        Answer(0),
        problem(429, "x"),
        OK,
    ]
    with stand_in(lambda _, nth: answers[nth]) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url)
        with forwarder.running():
            orthanc.upload(instance("retried"))
            forwarder.await_caught_up()
    times = service.asked["retried"]
    assert len(times) == len(answers)
    assert times[1] - times[0] >= 3
    assert reported(orthanc, "retried") == ["retried"]
    assert [line["error"] for line in forwarder.events("trying again")] == [
        "the service answered 503",
        "the service answered 504",
        "no answer from the service (RemoteProtocolError)",
        "the service answered 429",
    ]


def test_what_is_refused_is_counted_and_passed_over(orthanc: Orthanc, tmp_path: Path) -> None:
    refusals = {
        "malformed": problem(400, "malformed-image", X_Request_ID="0" * 32),
        "large": problem(413, "image-too-large"),
        "proxy": Answer(413, b"<html>a proxy's page", {"Content-Type": "text/html", "X-Request-ID": "Doe^Jane"}),
        "syntax": problem(415, "unsupported-media-type"),
    }
    port = free_port()
    with stand_in(lambda patient, _: refusals.get(patient, OK)) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url, "--metrics-port", str(port))
        with forwarder.running():
            orthanc.upload(*map(instance, refusals), instance("fine"), instance("ct", Modality="CT"))
            forwarder.await_caught_up()
            eventually(lambda: "cxr_forward_backlog_changes 0.0" in metrics_at(port), 10, forwarder.logged)
            metrics = metrics_at(port)
    assert reported(orthanc, *refusals, "fine") == ["fine"]
    assert all(len(times) == 1 for times in service.asked.values())
    assert "ct" not in service.asked
    refused = {
        (line["status"], line["reason"], line["request_id"]) for line in forwarder.events("refused by the service")
    }
    assert refused == {
        (400, "malformed-image", "0" * 32),
        (413, "image-too-large", "none"),
        (413, "unnamed", "none"),
        (415, "unsupported-media-type", "none"),
    }
    values = dict(re.findall(r"^(cxr_forward_\S+) (\S+)$", metrics, re.MULTILINE))
    outcomes = {name: int(float(v)) for name, v in values.items() if name.startswith("cxr_forward_instances_total")}
    assert outcomes == {
        'cxr_forward_instances_total{outcome="refused"}': 4,
        'cxr_forward_instances_total{outcome="failed"}': 0,
        'cxr_forward_instances_total{outcome="stored"}': 1,
        'cxr_forward_instances_total{outcome="skipped"}': 2,  # the CT, and our own report
    }
    assert values['cxr_forward_refusals_total{reason="image-too-large",status="413"}'] == "1.0"
    assert values['cxr_forward_given_up_total{reason="malformed-image"}'] == "1.0"
    assert values["cxr_forward_given_up_films"] == "4.0"
    assert values["cxr_forward_postponed_films"] == "0.0"
    assert float(values["cxr_forward_last_success_timestamp_seconds"]) > 1e9


def listed(forwarder: Forwarder, *arguments: str) -> list[dict[str, str]]:
    """What ``cxr-gate given-up`` prints."""
    done = run_command("given-up", "--state", str(forwarder.state), *arguments)
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_what_was_given_up_is_listed_survives_a_kill_and_is_tried_again(orthanc: Orthanc, tmp_path: Path) -> None:
    mended = False

    def script(patient: str, _: int) -> Answer:
        if mended or patient == "scored":
            return OK
        return problem(400, "malformed-image") if patient == "refused" else problem(503, "decoding-unavailable")

    with stand_in(script) as service:
        forwarder = forwarder_from_here(
            tmp_path, orthanc, service.url, "--give-up-hours", "0.000001", "--in-flight", "1"
        )
        with forwarder.running():
            orthanc.upload(*map(instance, ("refused", "starved", "scored")))
            forwarder.await_caught_up()  # past the two, and it never waits for them again
            forwarder.kill()
            films = {film["reason"]: film for film in listed(forwarder)}
            assert set(films) == {"malformed-image", "decoding-unavailable"}
            assert films["malformed-image"]["next_try"] == "given up"
            assert films["decoding-unavailable"]["next_try"] != "given up"  # by itself, within the minute
            found = orthanc.get(f"/instances/{films['malformed-image']['instance']}/simplified-tags")
            assert found["PatientID"] == "refused"
            forwarder.start()
            mended = True
            listed(forwarder, "--retry")
            eventually(lambda: not listed(forwarder), 30, forwarder.logged)
    assert reported(orthanc, "refused", "starved", "scored") == ["refused", "scored", "starved"]
    assert films["malformed-image"]["instance"] not in forwarder.logged()


def metrics_at(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_the_checkpoint_waits_for_the_first_that_is_not_done(orthanc: Orthanc, tmp_path: Path) -> None:
    heal = False
    with stand_in(lambda patient, _: OK if heal or patient == "quick" else problem(503, "overloaded")) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url)
        start = orthanc.last_change()
        with forwarder.running():
            orthanc.upload(instance("stuck"), instance("quick"))
            eventually(lambda: bool(reported(orthanc, "quick")), 20, forwarder.logged)
            assert forwarder.checkpoint() == start
            forwarder.kill()
            heal = True
            forwarder.start()
            forwarder.await_caught_up()
    assert reported(orthanc, "stuck", "quick") == ["quick", "stuck"]
    assert len(service.asked["quick"]) == 2  # done again, and nothing to be seen of it


def test_sigterm_finishes_the_film_in_hand(orthanc: Orthanc, tmp_path: Path) -> None:
    with stand_in(lambda *_: Answer(delay_seconds=2)) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url)
        with forwarder.running():
            orthanc.upload(instance("in hand"))
            eventually(lambda: bool(service.asked), 20, forwarder.logged)
            assert forwarder.stop() == 0
    assert reported(orthanc, "in hand") == ["in hand"]
    assert forwarder.events("stopped")[0]["checkpoint"] == forwarder.checkpoint()
    assert forwarder.checkpoint() > 0


def test_sigterm_does_not_wait_for_a_service_that_is_down(orthanc: Orthanc, tmp_path: Path) -> None:
    start = orthanc.last_change()
    forwarder = forwarder_from_here(tmp_path, orthanc, f"http://127.0.0.1:{free_port()}")
    with forwarder.running():
        orthanc.upload(instance("later"))
        eventually(lambda: len(forwarder.events("trying again")) > 1, 20, forwarder.logged)
        assert forwarder.stop(seconds=5) == 0
    assert forwarder.checkpoint() == start  # it is taken up at the next start


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (problem(401, "unauthorized"), "the service answered 401: set CXR_FORWARD_SERVICE_TOKEN"),
        (problem(403, "forbidden"), "the service answered 403: set CXR_FORWARD_SERVICE_TOKEN"),
        (Answer(200, b"{}", {"Content-Type": "application/json"}), "answered 200 without a DICOM report"),
        (problem(422, "rejected-as-adversarial"), "answered 422 without a DICOM report"),
        (problem(404, "not-found"), "the service answered 404, which it never does here; is --service-url right?"),
    ],
    ids=["401", "403", "json", "problem", "404"],
)
def test_what_needs_a_person_stops_the_forwarder(
    orthanc: Orthanc, tmp_path: Path, answer: Answer, message: str
) -> None:
    start = orthanc.last_change()
    with stand_in(lambda *_: answer) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url)
        forwarder.start()
        orthanc.upload(instance("anyone"))
        assert_ends_with(forwarder, message)
    assert forwarder.checkpoint() <= start


def assert_ends_with(forwarder: Forwarder, message: str) -> None:
    assert forwarder.process.wait(timeout=30) == 1
    assert message in forwarder.logged().splitlines()[-1]
    assert "Traceback" not in forwarder.logged()


def test_a_wrong_password_stops_the_forwarder(orthanc: Orthanc, tmp_path: Path) -> None:
    forwarder = Forwarder(tmp_path, orthanc, "http://127.0.0.1:9", CXR_FORWARD_ORTHANC_PASSWORD="wrong")
    forwarder.start()
    assert_ends_with(forwarder, "Orthanc answered 401: set --orthanc-user and CXR_FORWARD_ORTHANC_PASSWORD")


def test_the_state_of_another_orthanc_stops_the_forwarder(orthanc: Orthanc, tmp_path: Path) -> None:
    forwarder = Forwarder(tmp_path, orthanc, "http://127.0.0.1:9")
    forwarder.state.write_text(json.dumps({"format_version": 1, "last_change": 10**6}))
    forwarder.start()
    assert_ends_with(forwarder, "its database is another one")


def test_two_forwarders_cannot_share_a_state(orthanc: Orthanc, tmp_path: Path) -> None:
    with stand_in(lambda *_: OK) as service:
        first, second = (Forwarder(tmp_path, orthanc, service.url, "--start", "now") for _ in range(2))
        second.log = tmp_path / "second.log"
        with first.running():
            eventually(lambda: bool(first.events("following")), 20, first.logged)
            second.start()
            assert_ends_with(second, "another forwarder uses this --state")


def test_the_token_is_sent_to_the_service(orthanc: Orthanc, tmp_path: Path) -> None:
    with stand_in(lambda *_: OK) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url, CXR_FORWARD_SERVICE_TOKEN="t0ken")
        with forwarder.running():
            orthanc.upload(instance("token"))
            forwarder.await_caught_up()
    (headers,) = service.headers
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["accept"] == headers["content-type"] == "application/dicom"
    assert USER not in json.dumps(headers)


def test_an_instance_that_is_gone_is_none(orthanc: Orthanc) -> None:
    async def ask() -> tuple[str | None, bytes | None]:
        async with open_client(orthanc.url, auth=orthanc.client.auth) as client:
            return await Client(client).modality("gone"), await Client(client).film("gone")

    assert asyncio.run(ask()) == (None, None)


def test_what_is_deleted_does_not_look_like_another_orthanc(orthanc: Orthanc, tmp_path: Path) -> None:
    """Its changes go with it, so the log may end before the checkpoint; the counter never goes back."""
    with stand_in(lambda *_: OK) as service:
        forwarder = forwarder_from_here(tmp_path, orthanc, service.url)
        with forwarder.running():
            orthanc.upload(instance("deleted"))
            forwarder.await_caught_up()
            (found,) = orthanc.client.post(
                "/tools/find", json={"Level": "Patient", "Query": {"PatientID": "deleted"}}
            ).json()
            assert orthanc.client.delete(f"/patients/{found}").status_code == 200
            assert orthanc.client.delete("/changes").status_code == 200
            orthanc.upload(instance("next"))
            forwarder.await_caught_up()
    assert reported(orthanc, "deleted", "next") == ["next"]
