"""HEAD wherever GET is: the same answer without its body (RFC 9110 section 9.3.2)."""

from __future__ import annotations

import socket

import pytest

from tests.support.asking import ANSWER_SECONDS
from tests.support.served import Served

#: Of no request alone, or of the moment.
VARIES = {"x-request-id", "date", "content-length", "etag"}
PATHS = [
    "/",
    "/ops",
    "/docs",
    "/openapi.json",
    "/problems/quota",
    "/healthz",
    "/readyz",
    "/v1/model",
    "/static/page/page.js",
]


@pytest.mark.parametrize("path", [*PATHS, "/v1/versions", "/nowhere", "/v1/model?unknown=1", "/v1/score"])
def test_head_is_get_without_the_body(service: Served, path: str) -> None:
    got, head = service.get(path), service.client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    same = [{n: v for n, v in each.headers.items() if n not in VARIES} for each in (got, head)]
    assert same[0] == same[1]
    assert int(head.headers["content-length"]) == len(got.content) > 0


def test_nothing_of_a_body_is_sent(service: Served) -> None:
    """A byte of it would be taken for the next answer's head."""
    with socket.create_connection(("127.0.0.1", service.port), ANSWER_SECONDS) as connection:
        connection.sendall(b"HEAD /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n"
                           b"Connection: close\r\n\r\n")  # fmt: skip
        whole = b""
        while piece := connection.recv(65536):
            whole += piece
    first, _, rest = whole.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"HTTP/1.1 200")
    assert rest.endswith(b'{"status":"alive"}')


def test_it_is_counted_as_its_route(service: Served) -> None:
    service.client.head("/v1/model")
    assert 'cxr_http_requests_total{route="/v1/model",status="200"}' in service.get("/metrics").text
