"""A service without keys and a browser beside it, over sockets: DNS rebinding, and other sites' pages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access import add_key
from app.settings import Settings, SettingsError
from tests.http.stowing import CONTENT_TYPE
from tests.http.test_flow import film
from tests.support.served import read_answer
from tests.support.told import SECONDS, Told, told

FILM = film(20)
PAGE = "GET", "/v1/model"
POST = "POST", "/v1/score"


@pytest.fixture(scope="module")
def service(accepting_bundle: Path) -> Iterator[Told]:
    with told(accepting_bundle, metrics_open=False) as service:
        yield service


@pytest.fixture(scope="module")
def named(accepting_bundle: Path) -> Iterator[Told]:
    with told(accepting_bundle, allowed_hosts="cxr-gate CXR.example.org fd00::5") as service:
        yield service


def ask(service: Told, asked: tuple[str, str], *lines: str, host: str | None = None) -> tuple[int, str]:
    """Status and problem of a request with these headers; {port} is the service's."""
    method, path = asked
    head = [f"{method} {path} HTTP/1.1", f"Host: {host or 'localhost:{port}'}", *lines]
    if method == "POST":
        head += [f"Content-Length: {len(FILM)}"]
        if not any(line.startswith("Content-Type") for line in lines):
            head += ["Content-Type: image/png"]
    sent = "\r\n".join(head).replace("{port}", str(service.port)) + "\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), SECONDS) as connection:
        connection.sendall(sent.encode() + (FILM if method == "POST" else b""))
        status, headers, body = read_answer(connection)
    is_problem = headers["content-type"] == "application/problem+json"
    return status, json.loads(body)["type"] if is_problem else ""


FOREIGN = (403, "/problems/foreign-request")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "evil.example",
        "localhost.evil.example",
        "evil.localhost.example",
        "127.0.0.1.evil.example",
        "0.0.0.0:{port}",
        "10.0.0.5",
        "169.254.169.254",
        "[::]:{port}",
        "2130706433",
        "localhost@evil.example",
        "evil.example/localhost",
        "localhost:{port}:80",
        "[::1",
        "localhost:port",
        "cxr-gate:{port}",
        ",",
    ],
)
@pytest.mark.parametrize("asked", [PAGE, POST, ("GET", "/"), ("GET", "/metrics"), ("GET", "/static/page/page.js")])
def test_a_name_that_was_made_to_lead_here_gets_nothing(service: Told, host: str, asked: tuple[str, str]) -> None:
    assert ask(service, asked, host=host) == FOREIGN


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "LOCALHOST", "localhost.", "127.0.0.1:{port}", "127.1.2.3", "[::1]:{port}"]
)
def test_this_machines_own_names_are_good(service: Told, host: str) -> None:
    assert ask(service, PAGE, host=host) == (200, "")
    assert ask(service, POST, host=host) == (200, "")


def test_probes_need_no_name(service: Told) -> None:
    for path in ("/healthz", "/readyz"):
        assert ask(service, ("GET", path), host="10.1.2.3:8000") == (200, "")


@pytest.mark.parametrize("path", ["/v1/score", "/v1/explain?finding=Mass", "/v1/decode", "/dicomweb/studies"])
@pytest.mark.parametrize(
    "lines",
    [
        ("Origin: https://evil.example",),
        ("Origin: null",),
        ("Origin: http://localhost:3000",),  # another service of this machine
        ("Origin: http://127.0.0.1:{port}",),  # by another name it is another origin
        ("Origin: http://[",),
        ("Origin: http://localhost:{port}@evil.example",),
        ("Origin: http://localhost:{port}", "Sec-Fetch-Site: cross-site"),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),  # a form that was sent
        ("Sec-Fetch-Site: anything",),
    ],
)
def test_another_sites_page_cannot_post(service: Told, path: str, lines: tuple[str, ...]) -> None:
    """With the types that need no leave of a preflight too."""
    for content_type in ("image/png", "text/plain", "multipart/form-data; boundary=b", CONTENT_TYPE):
        assert ask(service, ("POST", path), *lines, f"Content-Type: {content_type}") == FOREIGN


@pytest.mark.parametrize(
    "lines",
    [
        (),  # no browser
        ("Origin: http://localhost:{port}",),
        ("Origin: http://localhost:{port}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"),
        ("Origin: http://LOCALHOST:{port}",),
        ("Sec-Fetch-Site: none",),
    ],
)
def test_the_page_itself_and_programs_can(service: Told, lines: tuple[str, ...]) -> None:
    assert ask(service, POST, *lines) == (200, "")


def test_a_link_to_the_page_can_be_followed_and_nothing_else_fetched(service: Told) -> None:
    followed = "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"
    assert ask(service, ("GET", "/"), *followed) == (200, "")
    assert ask(service, PAGE, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors") == FOREIGN


def test_the_operators_names_are_good_too(named: Told) -> None:
    for host in ("cxr-gate:8000", "cxr.example.org", "CXR.EXAMPLE.ORG:443", "[fd00::5]:8000", "localhost"):
        assert ask(named, POST, host=host) == (200, "")
    assert ask(named, POST, host="evil.example") == FOREIGN
    # Behind a proxy that ends TLS, and one that asks by a name of its own.
    assert ask(named, POST, "Origin: https://cxr.example.org", host="cxr.example.org") == (200, "")
    assert ask(named, POST, "Origin: https://cxr.example.org", host="cxr-gate:8000") == (200, "")
    assert ask(named, POST, "Origin: https://evil.example", host="cxr-gate:8000") == FOREIGN


def test_metrics_are_for_nobody_without_keys_unless_a_setting_opens_them(service: Told, named: Told) -> None:
    assert ask(service, ("GET", "/metrics")) == (403, "/problems/forbidden")
    assert ask(named, ("GET", "/metrics")) == (200, "")


def test_with_keys_any_name_is_good_and_metrics_are_closed_all_the_same(accepting_bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "callers.json"
    key = add_key(keys, "pacs", ["score"])
    with told(accepting_bundle, keys_file=str(keys), metrics_open=True) as keyed:
        bearer = f"Authorization: Bearer {key}"
        assert ask(keyed, POST, bearer, "Origin: https://viewer.example", host="cxr.example.org") == (200, "")
        assert ask(keyed, ("GET", "/metrics"), host="cxr.example.org") == (401, "/problems/unauthenticated")
        assert ask(keyed, ("GET", "/metrics"), bearer) == (403, "/problems/forbidden")


@pytest.mark.parametrize("text", ["http://cxr-gate", "cxr-gate:8000", "a,b", "*.example.org"])
def test_a_host_that_is_none_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="CXR_ALLOWED_HOSTS"):
        Settings.from_environment({"CXR_ALLOWED_HOSTS": text})


def test_no_metric_gives_a_films_score(service: Told, accepting_bundle: Path) -> None:
    """Films of many scores, one at a time: of each, the metrics say what its answer says, and to which tenth it belongs."""
    with told(accepting_bundle) as open_service:
        for mark in (20, 40, 41, 42, 90):  # the device gives each film its mark as its score
            assert open_service.client.post(
                "/v1/score", content=film(mark), headers={"Content-Type": "image/png"}
            ).status_code == 200  # fmt: skip
        page = open_service.client.get("/metrics").text
    scores = ("cxr_log_density", "cxr_clean_percentile", "cxr_shadow_probability")
    told_of_scores = [line for line in page.splitlines() if line.startswith(scores) and "_created" not in line]
    assert not [line for line in told_of_scores if "_sum" in line]
    bounds = {line.split('le="')[1].split('"')[0] for line in told_of_scores if 'le="' in line}
    assert bounds == {"-1000.0", "0.0", "+Inf", *(f"{tenth / 10}" for tenth in range(1, 11))}
