"""Who shares places with whom: a caller cannot make himself into many by what he writes, nor is all of IPv4 one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from app import commands
from app.cli import main
from app.http.security import ANONYMOUS, sharer
from app.http.wire.origins import Origins
from app.metrics import Metrics
from tests.support.told import running


def request_from(address: str) -> Request:
    return Request({"type": "http", "client": (address, 1), "headers": [], "state": {"caller": ANONYMOUS}})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),  # a socket for both kinds: they have one network of 64 bits
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::1", "::2", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("", "10.0.0.1", False),
    ],
)
def test_who_shares(one: str, other: str, same: bool) -> None:
    assert (sharer(request_from(one)) == sharer(request_from(other))) is same


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [(None, "127.0.0.1"), ("", "127.0.0.1"), ("127.0.0.1", "10.1.2.3"), ("192.0.2.7", "127.0.0.1")],
)
def test_an_address_that_a_caller_writes_is_not_his(
    trusted: str | None, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless he is a proxy that the operator named. uvicorn alone would believe whatever comes from this machine."""
    if trusted is None:
        monkeypatch.delenv(commands.PROXIES, raising=False)
    else:
        monkeypatch.setenv(commands.PROXIES, trusted)
    given: dict[str, Any] = {}
    application = FastAPI()
    application.state.metrics, application.state.origins = Metrics(), Origins()

    @application.get("/")
    def who(request: Request) -> list[str]:
        return [request.client.host if request.client else "", request.url.scheme]

    monkeypatch.setattr(commands, "configure_logging", lambda: None)
    monkeypatch.setattr(commands, "make_application", lambda _: application)
    monkeypatch.setattr(commands.uvicorn, "run", lambda _, **options: given.update(options))
    assert main(["serve", "--port", "0"]) == 0
    with running(application, proxy_headers=given["proxy_headers"]) as port:
        headers = {"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "https"}
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=headers).json() == [
            seen,
            "https" if seen == "10.1.2.3" else "http",
        ]
