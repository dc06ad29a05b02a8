"""Who may call, over real sockets: every route, with no key, a wrong one, one of another scope and the right one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.access import add_key, revoke_keys
from app.access.file import SCOPES, Scope
from app.http.application import create_application
from app.settings import Settings, SettingsError
from tests.http.stowing import CONTENT_TYPE, related
from tests.support.films import dicom, png
from tests.support.processes import run_command
from tests.support.screeners import ServedToldScreener
from tests.support.served import Served, assert_problem, serve

ID = "0" * 32
NEEDS: dict[tuple[str, str], set[Scope]] = {
    ("POST", "/v1/score"): {"score"},
    ("POST", "/v1/explain?finding=Mass"): {"score"},
    ("POST", "/v1/decode"): {"score"},
    ("GET", "/v1/decisions"): {"operate"},
    ("POST", "/dicomweb/studies"): {"score"},
    ("POST", "/dicomweb/studies/1.2.3"): {"score"},
    ("GET", "/metrics"): {"metrics", "operate"},
    ("GET", "/v1/versions"): {"operate"},
    ("POST", "/v1/versions/none/shadow"): {"operate"},
    ("POST", "/v1/versions/none/promote"): {"operate"},
    ("POST", "/v1/versions/rollback"): {"operate"},
    ("DELETE", "/v1/versions/shadow"): {"operate"},
    ("GET", "/v1/quarantine"): {"review"},
    ("GET", f"/v1/quarantine/{ID}"): {"review"},
    ("GET", f"/v1/quarantine/{ID}/film"): {"review"},
    ("GET", f"/v1/quarantine/{ID}/residual"): {"review"},
    ("POST", f"/v1/quarantine/{ID}/release"): {"review"},
    ("POST", f"/v1/quarantine/{ID}/confirm"): {"review"},
    ("GET", f"/v1/results/{ID}"): {"score", "review"},
}
OPEN = ("/healthz", "/readyz", "/docs", "/openapi.json", "/problems/forbidden", "/v1/model", "/", "/ops")


@dataclass(frozen=True)
class Keyed:
    """A service with keys, one for each scope."""

    service: Served
    file: Path
    keys: dict[Scope, str]
    record: Path

    def ask(self, method: str, path: str, authorization: str | None) -> httpx.Response:
        stored = path.startswith("/dicomweb")
        headers = {"Content-Type": CONTENT_TYPE if stored else "image/png"}
        if authorization is not None:
            headers["Authorization"] = authorization
        content = None if method == "GET" else related([dicom()]) if stored else png()
        return self.service.client.request(method, path, content=content, headers=headers)


@pytest.fixture(scope="module")
def keyed(accepting_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    file, record = folder / "callers.json", folder / "record.sqlite"
    keys = {scope: add_key(file, f"its-{scope}", [scope]) for scope in SCOPES}
    settings = {"CXR_RECORD_URL": f"sqlite:///{record}", "CXR_RECORD_KEY_FILE": str(folder / "record.key")}
    settings["CXR_KEYS_FILE"] = str(file)
    with serve(accepting_bundle, folder / "log", "--host", "0.0.0.0", **settings) as service:
        yield Keyed(service, file, keys, record)


@pytest.mark.parametrize(("method", "path"), NEEDS, ids=[path for _, path in NEEDS])
def test_a_route_is_for_callers_with_its_scope(keyed: Keyed, method: str, path: str) -> None:
    for scope, key in keyed.keys.items():
        answer = keyed.ask(method, path, f"Bearer {key}")
        if scope in NEEDS[method, path]:
            # 404: there is no quarantine here, and no such version; 409: the film is not of the study of the path, or there is
            # nothing to roll back to
            assert answer.status_code in {200, 404, 409}, answer.text
        else:
            assert assert_problem(answer, 403)["type"] == "/problems/forbidden"
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(("method", "path"), NEEDS, ids=[path for _, path in NEEDS])
def test_without_a_key_of_a_caller_there_is_no_answer(keyed: Keyed, method: str, path: str) -> None:
    key = keyed.keys["score"]
    wrong = [
        None,
        "",
        "Bearer",
        f"Basic {key}",
        key,
        f"Bearer {key[:-1]}",
        f"Bearer {key} {key}",
        "Bearer \xff",
    ]
    for authorization in wrong:
        answer = keyed.ask(method, path, authorization and authorization.encode("latin-1"))  # type: ignore[arg-type]
        assert assert_problem(answer, 401)["type"] == "/problems/unauthenticated"
        assert answer.headers["www-authenticate"].startswith('Bearer realm="cxr-gate"')
        assert key not in answer.text


def test_what_says_nothing_of_films_is_open(keyed: Keyed) -> None:
    for path in OPEN:
        assert keyed.service.get(path).status_code == 200, path


def test_every_route_is_either_open_or_named_here(keyed: Keyed) -> None:
    """A route that is added must say whom it is for."""
    documented = keyed.service.get("/openapi.json").json()["paths"]
    secured = {path for path, methods in documented.items() for each in methods.values() if "security" in each}
    tested = {path.split("?")[0].replace("1.2.3", "{study}").replace(ID, "{id}") for _, path in NEEDS}
    assert {path.replace("none", "{model_version}") for path in tested} == secured
    assert set(documented) - secured == {"/v1/model", "/healthz", "/readyz"}


def test_the_body_of_a_stranger_is_not_read(keyed: Keyed) -> None:
    with keyed.service.connect() as connection:
        connection.sendall(
            b"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_the_caller_is_in_the_record(keyed: Keyed) -> None:
    for method, path in [("POST", "/v1/score"), ("POST", "/v1/explain?finding=Mass"), ("POST", "/dicomweb/studies")]:
        answer = keyed.ask(method, path, f"Bearer {keyed.keys['score']}")
        connection = sqlite3.connect(keyed.record)
        query = "SELECT caller FROM entries WHERE request_id = ?"
        callers = connection.execute(query, [answer.headers["x-request-id"]]).fetchall()
        connection.close()
        assert callers == [("its-score",)]


def test_a_key_comes_and_goes_without_a_restart_and_is_never_logged(keyed: Keyed) -> None:
    def status(key: str) -> int:
        return keyed.ask("POST", "/v1/score", f"Bearer {key}").status_code

    old = add_key(keyed.file, "pacs", ["score"])
    assert status(old) == 200
    new = add_key(keyed.file, "pacs", ["score"])
    revoke_keys(keyed.file, "pacs", keep_newest=True)
    assert (status(old), status(new)) == (401, 200)
    good = keyed.file.read_text()
    keyed.file.write_text("{")
    assert status(new) == 200
    keyed.file.write_text(good)
    logged = keyed.service.logged()
    assert "the last good one holds" in logged
    for key in (old, new, *keyed.keys.values()):
        assert key not in logged


# Without keys, and at the start.


def test_without_keys_scoring_is_open_and_nobody_is_an_operator(service: Served) -> None:
    assert service.post(png(), Authorization="Bearer anything").status_code == 200
    assert assert_problem(service.get("/v1/versions"), 403)["type"] == "/problems/forbidden"


def test_without_keys_nobody_reviews(service: Served) -> None:
    for path in ("/v1/quarantine", f"/v1/quarantine/{ID}/film"):
        assert "CXR_KEYS_FILE" in assert_problem(service.get(path), 403)["detail"]


def test_a_file_of_callers_that_is_none_stops_the_start(accepting_bundle: Path, tmp_path: Path) -> None:
    settings = Settings(record_url="sqlite://", keys_file=str(tmp_path / "none.json"))
    with pytest.raises(SettingsError, match=r"CXR_KEYS_FILE: .* is not there"):
        create_application([ServedToldScreener(accepting_bundle)], settings)


def test_a_service_that_is_open_to_the_network_says_so(keyed: Keyed) -> None:
    ended = run_command("serve", "--host", "0.0.0.0", "--bundle", "nowhere")  # it says so before all else
    assert "ANYBODY WHO REACHES THIS SERVICE" in ended.stderr
    assert "ANYBODY" not in keyed.service.logged()


def test_one_that_only_this_machine_reaches_does_not(service: Served) -> None:
    assert "ANYBODY" not in service.logged()
