"""Rejected films are kept, looked at, decided on and given back, all of it in the record."""

from __future__ import annotations

import io
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from app.cli import main
from app.metrics import Metrics
from app.pipeline import Screener, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.quarantine import open_quarantine
from app.records import FilmEvent, Writer, open_record
from app.settings import Settings, SettingsError
from tests.http.stowing import CONTENT_TYPE, answer_of, failed, related
from tests.records.making import decision, subject, verdict
from tests.support.films import dicom, encoded, jpeg, pixels, png
from tests.support.reviewing import KEY, REASON, Keeping, Site, keeping, keeping_here
from tests.support.served import Served, assert_accepted, assert_problem, read_answer
from tests.support.waiting import eventually

DICOM = "application/dicom"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.make(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def kept(site: Site, rejecting_bundle: Path) -> Iterator[Keeping]:
    with keeping(site, rejecting_bundle) as service:
        yield service


def grey(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_film_is_rejected_kept_looked_at_released_and_given_back(kept: Keeping, site: Site, service: Served) -> None:
    answer = kept.score(png(1))
    problem = assert_problem(answer, 422)
    assert problem["title"] == "rejected as adversarial"
    film = problem["request_id"]
    assert kept.listed("?limit=1") == [film]
    waiting = assert_problem(kept.get(f"/v1/results/{film}", "pacs"), 409)
    assert waiting["type"] == "/problems/awaiting-review"

    details = kept.get(f"/v1/quarantine/{film}")
    assert details.headers["cache-control"] == "no-store"
    told = details.json()
    (entry,) = site.entries("request_id = ?", film)
    assert (told["state"], told["callers"], told["source_kind"]) == ("pending", ["pacs"], "png")
    for same in ("time", "model_version", "log_density", "percentile", "pixels_hash"):
        assert told[same] == entry[same]
    shown = kept.get(f"/v1/quarantine/{film}/film")
    assert (shown.headers["content-type"], shown.headers["cache-control"]) == ("image/png", "no-store")
    assert (grey(shown.content) == pixels(1)).all()
    assert kept.get(f"/v1/quarantine/{film}/film?original=true").content == png(1)
    residual = kept.get(f"/v1/quarantine/{film}/residual")
    assert grey(residual.content).shape == (224, 224)

    released = kept.decide(film, "release")
    assert released.status_code == 200
    assert released.json()["state"] == "released"
    result = kept.get(f"/v1/results/{film}", "pacs").json()
    accepted = assert_accepted(service.post(png(1)))  # the same network, and a gate that accepts all
    assert result["probabilities"] == pytest.approx(accepted["probabilities"], abs=1e-6)
    assert set(result) == {*accepted, "released"}
    assert (result["request_id"], result["model_version"]) == (film, told["model_version"])
    assert (result["released"]["by"], result["released"]["reason"]) == ("dr.b", REASON)

    viewed, events = ("viewed", "dr.b"), site.entries("film = ?", film)
    assert site.happened(film) == [("judged", "pacs"), *[viewed] * 4, ("released", "dr.b"), ("answered", "pacs")]
    assert [event["route"].removeprefix("/v1/quarantine/{id}") for event in events[1:6]] == [
        *("", "/film", "/film", "/residual", "/release")
    ]
    assert json.loads(events[-1]["probabilities"]) == list(result["probabilities"].values())
    assert events[5]["reason"] == REASON
    assert site.verifies()


def test_a_decision_holds(kept: Keeping, site: Site) -> None:
    released, confirmed = kept.reject(png(2)), kept.reject(png(3))
    assert kept.decide(released, "release").status_code == 200
    assert kept.decide(confirmed, "confirm", "dr.c").json()["state"] == "confirmed"
    again = kept.decide(released, "release", "dr.c", "another reason")
    assert again.status_code == 200
    assert [(each["by"], each["reason"]) for each in again.json()["happenings"]] == [("dr.b", REASON)]
    for film, other in ((released, "confirm"), (confirmed, "release")):
        assert assert_problem(kept.decide(film, other), 409)["type"] == "/problems/already-decided"
        assert len(site.happened(film)) == 2
    assert assert_problem(kept.get(f"/v1/results/{confirmed}", "pacs"), 410)["type"] == "/problems/confirmed-as-bad"
    assert released in kept.listed("?state=released")
    assert confirmed in kept.listed("?state=confirmed")
    assert not {released, confirmed} & set(kept.listed("?state=pending"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"reason": "no"}',
        b'{"reason": "  a   "}',
        b'{"reason": 12345}',
        b'{"reason": "%s"}' % (b"x" * 501),
        b'{"reason": "good enough", "by": "dr.c"}',
        b"\xff\xfe",
        b'{"reason": "a \\u0000 byte"}',
        b'{"reason": "half \\ud800 of one"}',
    ],
)
def test_a_decision_needs_a_reason(kept: Keeping, site: Site, body: bytes) -> None:
    film = (site.entries("film IS NOT NULL") or [{"film": kept.reject(png(4))}])[0]["film"]
    before = len(site.entries())
    assert_problem(kept.ask("dr.b", "POST", f"/v1/quarantine/{film}/release", content=body), 400)
    assert len(site.entries()) == before


def test_a_reason_that_never_ends_is_cut_off(kept: Keeping) -> None:
    body = b'{"reason": "' + b"x" * 20_000 + b'"}'
    assert_problem(kept.ask("dr.b", "POST", f"/v1/quarantine/{'0' * 32}/release", content=body), 413)


def test_a_reason_that_does_not_arrive_is_told_504(tmp_path: Path, screener: Screener) -> None:
    site = Site.make(tmp_path)
    with keeping_here(site, screener, CXR_DEADLINE_SECONDS="0.3") as kept:
        port = kept.client.base_url.port
        assert port
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            head = f"POST /v1/quarantine/{'0' * 32}/release HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n"
            connection.sendall(f'{head}Authorization: Bearer {site.keys["dr.b"]}\r\n\r\n{{"reason": '.encode())
            assert read_answer(connection)[0] == 504


def test_results_are_for_their_sender_and_for_reviewers(kept: Keeping, site: Site) -> None:
    film = kept.reject(png(5))
    assert_problem(kept.get(f"/v1/results/{film}", "ward"), 404)
    kept.decide(film, "release")
    assert_problem(kept.get(f"/v1/results/{film}", "ward"), 404)
    assert_problem(kept.get(f"/v1/results/{film}", "ops"), 403)
    assert kept.get(f"/v1/results/{film}", "pacs").status_code == 200
    assert kept.get(f"/v1/results/{film}", "dr.b").status_code == 200
    assert site.happened(film)[-2:] == [("answered", "pacs"), ("answered", "dr.b")]


@pytest.mark.parametrize("film", ["0" * 32, "0" * 32 + "-1", "nonsense", "%2e%2e", "0" * 31 + "%00"])
def test_a_film_that_is_not_there_is_a_404(kept: Keeping, film: str) -> None:
    for path in (
        f"/v1/results/{film}",
        f"/v1/quarantine/{film}",
        f"/v1/quarantine/{film}/film",
        f"/v1/quarantine?before={film}",
    ):
        assert_problem(kept.get(path), 404)
    assert_problem(kept.decide(film, "release"), 404)


@pytest.mark.parametrize(
    "query",
    [
        *("state=removed", "state=", "limit=0", "limit=501", "limit=x", "limit=-1"),
        *("limit=", "limit=%2B5", "limit=%205", "limit=1_0", "limit=5.0"),  # Python reads some of these as numbers
    ],
)
def test_a_query_that_is_none_is_a_400(kept: Keeping, query: str) -> None:
    allowed = {"state": "one of pending, released, confirmed", "limit": "a number from 1 to 500"}
    name = query.split("=")[0]
    detail = assert_problem(kept.get(f"/v1/quarantine?{query}"), 400)["detail"]
    assert detail == f"the query parameter {name} must be {allowed[name]}"


def test_every_kind_of_film_is_kept_as_it_was_posted(kept: Keeping) -> None:
    film = dicom(6)
    for content, kind in ((film, DICOM), (jpeg(6), "image/jpeg")):
        name = kept.reject(content, kind)
        path = f"/v1/quarantine/{name}/film"
        assert kept.get(path, Accept=kind).content == content
        assert kept.get(path, Accept=f"{kind}, image/png;q=0.5").headers["content-type"] == "image/png"
        assert kept.get(path).headers["content-type"] == "image/png"
        assert_problem(kept.get(path, Accept="text/html"), 406)
    assert_problem(kept.get(f"/v1/quarantine/{name}/residual", Accept=DICOM), 406)
    for neither in ("yes", "1", "on", "True", ""):
        answer = assert_problem(kept.get(f"/v1/quarantine/{name}/film?original={neither}"), 400)
        assert answer["detail"] == "the query parameter original must be true or false"
    assert kept.get(f"/v1/quarantine/{name}/film?original=false").headers["content-type"] == "image/png"
    explained = kept.score(film, DICOM, path="/v1/explain?finding=Mass")
    assert assert_problem(explained, 422)["request_id"] == kept.listed("?limit=1")[0]


def store(kept: Keeping, *films: bytes, who: str = "pacs") -> tuple[str, list[str]]:
    """Request id, and the films' ids."""
    body, headers = related(films), {"Content-Type": CONTENT_TYPE}
    answer = kept.ask(who, "POST", "/dicomweb/studies", content=body, headers=headers)
    items = failed(answer_of(answer, 409))
    return answer.headers["x-request-id"], [item.private_block(0x0099, "CXR-GATE")[0x11].value for item in items]


def test_stored_instances_are_kept_one_by_one_and_a_repeat_once(kept: Keeping, site: Site) -> None:
    films = [dicom(seed, SOPInstanceUID=generate_uid()) for seed in (7, 8)]
    request_id, ids = store(kept, *films)
    assert ids == [f"{request_id}-1", f"{request_id}-2"]
    assert kept.get(f"/v1/quarantine/{ids[1]}/film?original=true").content == films[1]
    files = site.files()
    assert store(kept, films[1], who="ward")[1] == [ids[1]]
    assert site.files() == files
    assert kept.get(f"/v1/quarantine/{ids[1]}").json()["callers"] == ["pacs", "ward"]
    assert kept.decide(ids[1], "release").status_code == 200
    for who in ("pacs", "ward"):
        assert kept.get(f"/v1/results/{ids[1]}", who).status_code == 200
    assert_problem(kept.get(f"/v1/results/{ids[0]}", "ward"), 404)


def test_a_film_that_was_changed_on_the_disk_is_not_shown(kept: Keeping, site: Site) -> None:
    film = kept.reject(png(9))
    kept.decide(film, "release")
    before = site.happened(film)
    content = bytearray((site.films / f"{film}.film").read_bytes())
    content[1000] ^= 1
    (site.films / f"{film}.film").write_bytes(content)
    for path in (f"/v1/quarantine/{film}/film", f"/v1/quarantine/{film}/residual", f"/v1/results/{film}"):
        assert assert_problem(kept.get(path), 500)["type"] == "/problems/film-unreadable"
    assert site.happened(film) == before
    assert "a kept film is unreadable" in site.log.read_text()


def test_what_cannot_be_recorded_is_neither_shown_nor_done(kept: Keeping, site: Site) -> None:
    film = kept.reject(png(11))
    holder = sqlite3.connect(site.folder / "record.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")  # others read, and wait until they may write
    try:
        assert_problem(kept.get(f"/v1/quarantine/{film}/film"), 503)
        holder.execute("ALTER TABLE entries RENAME TO elsewhere")
        holder.execute("COMMIT")
        assert_problem(kept.decide(film, "release"), 503)
        holder.execute("ALTER TABLE elsewhere RENAME TO entries")
    finally:
        holder.close()
    assert kept.get(f"/v1/quarantine/{film}").json()["state"] == "pending"
    assert site.happened(film) == [("judged", "pacs"), ("viewed", "dr.b")]


def test_nothing_on_the_disk_or_in_the_log_tells_of_a_patient(kept: Keeping, site: Site) -> None:
    film = dicom(12, PatientName="Testmann^Erika", PatientID="MRN-4711-0815", StudyInstanceUID=(uid := generate_uid()))
    name = kept.reject(film, DICOM)
    kept.decide(name, "release", reason="seen with a colleague")
    kept.get(f"/v1/results/{name}", "pacs")
    written = b"".join(path.read_bytes() for path in site.folder.rglob("*") if path.is_file())
    for secret in ("Testmann", "Erika", "MRN-4711", uid, KEY, *site.keys.values()):
        assert secret.encode() not in written, secret
    assert name.encode() in written


def test_the_metrics_count_films_and_decisions(kept: Keeping, site: Site) -> None:
    states = {
        state: kept.metric(f'cxr_quarantine_films{{state="{state}"}}') for state in ("pending", "released", "confirmed")
    }
    assert sum(states.values()) == len(site.files())
    assert kept.metric("cxr_quarantine_bytes") == sum(path.stat().st_size for path in site.films.glob("*.film"))
    decided = kept.metric('cxr_quarantine_decisions_total{decision="released"}')
    kept.decide(kept.reject(png(13)), "release")
    assert kept.metric('cxr_quarantine_films{state="released"}') == states["released"] + 1
    assert kept.metric('cxr_quarantine_decisions_total{decision="released"}') == decided + 1


# Limits and faults, each with a service of its own.


@pytest.fixture(scope="module")
def screener(rejecting_bundle: Path) -> Screener:
    bundle = read_bundle(rejecting_bundle)
    return Screener(bundle, TorchCpu(bundle.network))


def large(seed: int) -> bytes:
    """A film of some 640 kB, which nothing compresses."""
    noise = np.random.default_rng(seed).integers(0, 256, (800, 800), dtype=np.uint8)
    return encoded(Image.fromarray(noise))


def test_when_it_is_full_the_oldest_go_first_those_that_were_decided_on(tmp_path: Path, screener: Screener) -> None:
    site = Site.make(tmp_path)
    limits = {"CXR_QUARANTINE_MB": "2", "CXR_MAX_BODY_BYTES": str(2**20)}
    with keeping_here(site, screener, **limits) as kept:
        first, second, third = (kept.reject(large(seed)) for seed in range(3))
        kept.decide(second, "confirm")
        fourth = kept.reject(large(3))
        assert kept.listed() == [fourth, third, first]
        assert site.happened(second)[-1] == ("removed", "cxr-gate")
        fifth = kept.reject(large(4))
        assert kept.listed() == [fifth, fourth, third]
        assert site.happened(first) == [("judged", "pacs"), ("removed", "cxr-gate")]
        assert sum(path.stat().st_size for path in site.films.iterdir()) <= 2 * 2**20
        assert_problem(kept.get(f"/v1/quarantine/{first}"), 404)
        assert_problem(kept.get(f"/v1/results/{first}", "pacs"), 404)
        assert kept.metric('cxr_quarantine_removed_total{reason="size"}') == 2
        assert site.verifies()


def test_a_film_ages_out(tmp_path: Path, screener: Screener) -> None:
    site = Site.make(tmp_path)
    with keeping_here(site, screener) as kept:
        old = kept.reject(png(1))
    # Three seconds, and the film is older by the time that the service is up again.
    with keeping_here(site, screener, CXR_QUARANTINE_DAYS=str(3 / 86_400)) as kept:
        eventually(lambda: not site.files())
        assert_problem(kept.get(f"/v1/results/{old}"), 404)
        new = kept.reject(png(2))
        eventually(lambda: ("removed", "cxr-gate") in site.happened(new))
        eventually(lambda: not site.files())
        assert [entry["reason"] for entry in site.entries("kind = 'removed'")] == ["age", "age"]


@pytest.mark.parametrize("optional", [False, True])
def test_a_film_that_cannot_be_kept_is_not_answered_unless_the_record_is_optional(
    tmp_path: Path, screener: Screener, optional: bool
) -> None:
    site = Site.make(tmp_path)
    with keeping_here(site, screener, CXR_RECORD_OPTIONAL=str(optional).lower()) as kept:
        site.films.rename(tmp_path / "elsewhere")
        answer = kept.score(png(1))
        if optional:
            assert_problem(answer, 422)
            assert kept.listed() == []
        else:
            assert assert_problem(answer, 503)["type"] == "/problems/quarantine-unavailable"
            assert answer.headers["retry-after"]
            body, headers = related([dicom(1)]), {"Content-Type": CONTENT_TYPE}
            answer_of(kept.ask("pacs", "POST", "/dicomweb/studies", content=body, headers=headers), 503)
        assert kept.metric("cxr_quarantine_failures_total") == 2 - optional
        assert site.entries("film IS NOT NULL") == []
        (tmp_path / "elsewhere").rename(site.films)
        kept.reject(png(1))
        assert len(site.files()) == 1


def test_a_restart_finds_what_was_kept_and_puts_aside_what_was_not(tmp_path: Path, screener: Screener) -> None:
    site = Site.make(tmp_path)
    with keeping_here(site, screener) as kept:
        pending, released, gone = (kept.reject(png(seed)) for seed in range(3))
        kept.decide(released, "release")
    files = site.files()
    (site.films / f"{'e' * 32}.film").write_bytes(b"its entry was not written")
    (site.films / f"{'f' * 32}.part").write_bytes(b"half")
    record = open_record(site.settings["CXR_RECORD_URL"], tmp_path / "record.key")
    record.write([FilmEvent("removed", gone, "cxr-gate", reason="size")])  # and then it was killed
    record.close()
    with keeping_here(site, screener) as kept:
        assert site.files() == sorted(set(files) - {f"{gone}.film"})
        assert site.orphans() == [f"{'e' * 32}.film"]
        assert kept.metric("cxr_quarantine_orphans") == 1
        assert kept.listed() == [released, pending]
        assert kept.get(f"/v1/results/{released}", "pacs").status_code == 200
        assert_problem(kept.decide(released, "confirm"), 409)
        assert site.verifies()


def test_five_thousand_films_are_listed_page_by_page(tmp_path: Path, screener: Screener) -> None:
    site, count = Site.make(tmp_path), 5_000
    record = open_record(site.settings["CXR_RECORD_URL"], tmp_path / "record.key")
    about, given = subject(record.key), verdict(accepted=False)
    ids = [f"{number:032x}" for number in range(count)]
    record.write([decision(about, given, film=film, request_id=film) for film in ids])
    record.write([FilmEvent("released", film, "dr.b", reason=REASON) for film in ids[::5]])
    record.close()
    site.films.mkdir()
    for film in ids:
        (site.films / f"{film}.film").write_bytes(b"nobody opens it here")
    with keeping_here(site, screener) as kept:
        for query, expected in (("limit=500", ids[::-1]), ("state=released&limit=300", ids[::5][::-1])):
            found: list[str] = []
            path = f"/v1/quarantine?{query}"
            while path:
                page = kept.get(path).json()
                found += [film["id"] for film in page["films"]]
                path = page["next"] and f"/v1/quarantine?{query}&before={page['next']}"
            assert found == expected
        assert kept.metric('cxr_quarantine_films{state="pending"}') == count - len(ids[::5])


def test_released_films_are_exported_in_clear_and_that_is_recorded(
    tmp_path: Path, screener: Screener, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site, out = Site.make(tmp_path), tmp_path / "out"
    films = {"image/png": png(1), DICOM: dicom(2), "image/jpeg": jpeg(3)}
    with keeping_here(site, screener) as kept:
        ids = [kept.reject(content, kind) for kind, content in films.items()]
        for film in ids:
            kept.decide(film, "release")
        other = kept.reject(png(4))
        for name, value in site.settings.items():
            monkeypatch.setenv(name, value)
        assert main(["export-quarantine", "--state", "released", "--out", str(out)]) == 0
        assert main(["export-quarantine", "--out", str(out)]) == 1
        assert "not empty" in capsys.readouterr().err
        assert kept.reject(png(5))  # the service goes on
    suffixes = (".png", ".dcm", ".jpg")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        film + suffix: content for film, suffix, content in zip(ids, suffixes, films.values(), strict=True)
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.iterdir())
    assert [kind for kind, _ in site.happened(ids[0])] == ["judged", "released", "exported"]
    assert [kind for kind, _ in site.happened(other)] == ["judged"]
    assert site.verifies()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quarantine_key": ""}, "needs a key"),
        ({"quarantine_key": "short"}, "CXR_QUARANTINE_KEY: line 1"),
        ({"quarantine_key_file": "somewhere"}, "one of CXR_QUARANTINE_KEY_FILE"),
        ({"quarantine_key": "", "quarantine_key_file": "/nowhere"}, "CXR_QUARANTINE_KEY_FILE: .* cannot be read"),
        ({"record_url": "sqlite://"}, "outlives the process"),
        ({"record_days": 30}, "CXR_RECORD_DAYS=30 must be over"),
        ({"quarantine_mb": 127}, "twice CXR_MAX_BODY_BYTES"),
        ({"quarantine_folder": "/proc/films"}, "cannot be written to"),
    ],
)
def test_a_quarantine_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    usual: dict[str, Any] = {
        "record_url": f"sqlite:///{tmp_path}/record.sqlite",
        "record_key_file": tmp_path / "key",
        "quarantine_folder": str(tmp_path / "films"),
        "quarantine_key": KEY,
    }
    settings = Settings(**(usual | changes))
    record, metrics = open_record(settings.record_url, settings.record_key_file), Metrics()
    with pytest.raises(SettingsError, match=reason):
        open_quarantine(settings, record, Writer(record, metrics), metrics)
    record.close()


def test_films_of_another_record_are_left_alone(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number in range(65):
        (films / f"{number:032x}.film").write_bytes(b"of another record")
    url = f"sqlite:///{tmp_path}/record.sqlite"
    settings = Settings(
        record_url=url, record_key_file=tmp_path / "key", quarantine_folder=str(films), quarantine_key=KEY
    )
    record, metrics = open_record(url, tmp_path / "key"), Metrics()
    with pytest.raises(SettingsError, match="do not belong together"):
        open_quarantine(settings, record, Writer(record, metrics), metrics)
    assert len(os.listdir(films)) == 65
    record.close()
