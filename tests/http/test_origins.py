"""Pages of allowed origins, over sockets: what a browser asks before and reads after, on every kind of answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.access import Quota, add_key
from app.http.wire.protocol import MAX_HEAD_BYTES
from app.settings import Settings, SettingsError
from tests.http.test_flow import film
from tests.support.served import read_answer
from tests.support.told import SECONDS, Told, told

ALLOWED = "https://viewer.example"
OTHERS = [
    "https://viewer.example.evil.example",
    "http://viewer.example",
    "https://viewer.example:8443",
    "https://VIEWER.example",  # no browser writes it so
    "https://viewer.example/",
    "https://viewer.example https://other.example",
    "null",
    "*",
    "",
]
FILM = film(20)
Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def service(accepting_bundle: Path) -> Iterator[Told]:
    """Without keys."""
    with told(accepting_bundle, allowed_origins=f"http://localhost:3000 {ALLOWED}") as service:
        yield service


def exchange(service: Told, head: list[str], body: bytes = b"") -> Answer:
    with socket.create_connection(("127.0.0.1", service.port), SECONDS) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        return read_answer(connection)


def ask(service: Told, method: str, path: str, *lines: str, origin: str = ALLOWED, body: bytes = b"") -> Answer:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Origin: {origin}", "Sec-Fetch-Site: cross-site", *lines]
    if body:
        head += [f"Content-Length: {len(body)}"]
    return exchange(service, head, body)


def names(headers: dict[str, str], header: str) -> set[str]:
    return {name.strip().lower() for name in headers[header].split(",")}


def assert_readable(answer: Answer, status: int) -> None:
    """What a browser asks for before it shows a page the answer, and the headers that a client heeds."""
    found, headers, _ = answer
    assert found == status
    assert headers["access-control-allow-origin"] == ALLOWED
    assert "origin" in names(headers, "vary")
    exposed = names(headers, "access-control-expose-headers")
    assert exposed >= {"x-request-id", "retry-after", "ratelimit", "ratelimit-policy", "x-exposed-field"}
    assert "access-control-allow-credentials" not in headers  # there are no cookies, and none shall be sent
    assert headers["x-request-id"]
    assert "x-service-request-id" in exposed


def assert_not_readable(answer: Answer) -> None:
    assert not [name for name in answer[1] if name.startswith("access-control-")]
    assert "origin" in names(answer[1], "vary")  # a cache must not give it to a page that is allowed


PREFLIGHT = (
    "Access-Control-Request-Method: POST",
    "Access-Control-Request-Headers: authorization,content-type,idempotency-key,x-request-id",
)


@pytest.mark.parametrize("path", ["/v1/score", "/v1/score?heatmap=Mass", "/dicomweb/studies", "/nowhere"])
def test_a_preflight_is_answered(service: Told, path: str) -> None:
    answer = ask(service, "OPTIONS", path, *PREFLIGHT)
    assert_readable(answer, 204)
    _, headers, body = answer
    assert body == b""
    assert names(headers, "access-control-allow-methods") >= {"get", "post", "delete"}
    # Safelisted are neither of these; a browser compares each name that it asked for.
    assert names(headers, "access-control-allow-headers") >= {
        "authorization",
        "content-type",
        "idempotency-key",
        "x-request-id",
    }
    assert int(headers["access-control-max-age"]) > 0


def test_a_page_of_an_allowed_origin_scores_a_film_without_keys(service: Told) -> None:
    answer = ask(service, "POST", "/v1/score", "Content-Type: image/png", body=FILM)
    assert_readable(answer, 200)
    assert b'"accepted"' in answer[2]


@pytest.mark.parametrize("origin", OTHERS)
def test_another_origin_is_refused_without_keys(service: Told, origin: str) -> None:
    judged = len(service.screener.judged)
    for method, lines, body in [("OPTIONS", PREFLIGHT, b""), ("POST", ("Content-Type: image/png",), FILM)]:
        answer = ask(service, method, "/v1/score", *lines, origin=origin, body=body)
        assert answer[0] == 403
        assert_not_readable(answer)
    assert len(service.screener.judged) == judged


def test_a_name_that_was_made_to_lead_here_is_refused_all_the_same(service: Told) -> None:
    head = ["POST /v1/score HTTP/1.1", "Host: evil.example", f"Origin: {ALLOWED}", f"Content-Length: {len(FILM)}"]
    assert exchange(service, head, FILM)[0] == 403


def test_without_the_setting_nothing_is_said(accepting_bundle: Path) -> None:
    with told(accepting_bundle) as plain:
        for method, lines in [("OPTIONS", PREFLIGHT), ("GET", ())]:
            status, headers, _ = ask(plain, method, "/v1/model", *lines)
            assert status == 403
            assert not {name for name in headers if name.startswith("access-control-") or name == "vary"}


# Refusals.


def test_every_refusal_can_be_read(service: Told) -> None:
    for status, method, path, body in [
        (400, "POST", "/v1/score", b"\x89PNG\r\n\x1a\n"),
        (400, "GET", "/v1/model?unknown=1", b""),
        (403, "GET", "/v1/versions", b""),
        (404, "GET", "/nowhere", b""),
        (405, "GET", "/v1/score", b""),
        (415, "POST", "/v1/score", b"no film"),
    ]:
        kind = "Content-Type: text/plain" if status == 415 else "Content-Type: image/png"
        assert_readable(ask(service, method, path, kind, body=body), status)


def test_a_refusal_before_the_body_was_read_can_be_read(accepting_bundle: Path) -> None:
    with told(accepting_bundle, allowed_origins=ALLOWED, max_body_bytes=1000) as small:
        answer = ask(small, "POST", "/v1/score", "Content-Type: image/png", body=bytes(5000))
        assert_readable(answer, 413)


def test_an_overload_can_be_read(accepting_bundle: Path) -> None:
    with told(accepting_bundle, allowed_origins=ALLOWED, max_waiting=1) as busy:
        busy.screener.gate.clear()
        with socket.create_connection(("127.0.0.1", busy.port), SECONDS) as held:
            head = f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(FILM)}\r\n\r\n"
            held.sendall(head.encode() + FILM)
            assert busy.screener.entered.wait(SECONDS)
            answer = ask(busy, "POST", "/v1/score", "Content-Type: image/png", body=FILM)
            busy.screener.gate.set()
            assert read_answer(held)[0] == 200
        assert_readable(answer, 503)
        assert int(answer[1]["retry-after"]) >= 1


def test_a_fault_of_ours_can_be_read(service: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starlette answers it outside all middleware."""

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("app.http.routes.score.screen_posted", broken)
    assert_readable(ask(service, "POST", "/v1/score", "Content-Type: image/png", body=FILM), 500)


def test_what_is_no_request_can_be_read_as_far_as_its_origin_was(service: Told) -> None:
    too_large = f"X-Large: {'x' * MAX_HEAD_BYTES}"
    assert_readable(ask(service, "POST", "/v1/score", too_large), 400)
    assert_readable(ask(service, "POST", "/v1/score", "Transfer-Encoding: gzip"), 400)
    assert_not_readable(ask(service, "POST", "/v1/score", too_large, origin="https://evil.example"))
    assert_not_readable(exchange(service, ["this is no request"]))


# With keys.


def test_with_keys_a_page_needs_one_and_is_told_so(accepting_bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "callers.json"
    key = add_key(keys, "viewer", ["score"], quota=Quota(1, 1))
    with told(accepting_bundle, keys_file=str(keys), allowed_origins=ALLOWED) as keyed:
        assert_readable(ask(keyed, "OPTIONS", "/v1/score", *PREFLIGHT), 204)  # which bears no key
        kind = "Content-Type: image/png"
        assert_readable(ask(keyed, "POST", "/v1/score", kind, body=FILM), 401)
        bearer = f"Authorization: Bearer {key}"
        assert_readable(ask(keyed, "POST", "/v1/score", kind, bearer, body=FILM), 200)
        assert_readable(ask(keyed, "POST", "/v1/score", kind, bearer, body=FILM), 429)
        # Whoever has a key is answered; the browser keeps it from the page of another origin.
        for origin in OTHERS:
            assert_not_readable(ask(keyed, "OPTIONS", "/v1/score", *PREFLIGHT, origin=origin))
            assert_not_readable(ask(keyed, "POST", "/v1/score", kind, origin=origin, body=FILM))


# The setting.


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "viewer.example",
        "https://viewer.example/",
        "https://viewer.example/path",
        "https://Viewer.example",
        "https://viewer.example:443",
        "http://viewer.example:80",
        "https://*.example",
        "https://viewer.example,https://other.example",
        "https://user@viewer.example",
        "ftp://viewer.example",
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match=r"CXR_ALLOWED_ORIGINS.*must be origins as browsers send them"):
        Settings.from_environment({"CXR_ALLOWED_ORIGINS": text})


def test_origins_are_read() -> None:
    text = "https://viewer.example http://localhost:3000 http://[::1]:8080 https://viewer.example:80"
    assert Settings.from_environment({"CXR_ALLOWED_ORIGINS": text}).allowed_origins == text
