"""A fault of our own is a 500 problem that names its request and nothing of its cause."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from app.http.application import create_application
from app.pipeline import Screener, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.settings import Settings
from tests.support.films import png
from tests.support.served import assert_problem


def test_an_unexpected_error_is_a_problem(accepting_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret cause")

    monkeypatch.setattr("app.http.routes.score.screen_posted", broken)
    bundle = read_bundle(accepting_bundle)
    application = create_application([Screener(bundle, TorchCpu(bundle.network))], Settings())

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/v1/score", content=png(), headers={"Content-Type": "image/png"})

    response = asyncio.run(scenario())
    body = assert_problem(response, 500)
    assert body["title"] == "internal error"
    assert "secret" not in response.text
