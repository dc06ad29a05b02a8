"""A service with trusted keys serves what they signed, and says who did; nothing else comes in by any way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from app.access import add_key
from app.pipeline.bundle import read_manifest
from offline.bundles.signing import SigningKey, new_signing_key, sign_bundle
from tests.http.conftest import Start
from tests.support.asking import ANSWER_SECONDS
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import png
from tests.support.processes import run_command
from tests.support.served import Served, assert_problem


def ready_line(service: Served) -> dict[str, Any]:
    lines = [json.loads(line) for line in service.logged().splitlines() if line.startswith("{")]
    return next(line for line in lines if line["message"] == "ready")


def test_without_keys_it_is_served_and_said_to_be_nobodys(service: Served) -> None:
    assert service.get("/v1/model").json()["signed_by"] is None
    assert ready_line(service)["signed"] is False


def test_an_unsigned_bundle_stops_the_start(accepting_bundle: Path, tmp_path: Path) -> None:
    public, _ = new_signing_key(tmp_path / "key")
    served = run_command("serve", "--bundle", str(accepting_bundle), "--port", "1", CXR_TRUSTED_KEYS=str(public))
    assert served.returncode == 1
    assert "the bundle is not signed" in served.stderr
    public.unlink()
    nobody = run_command("serve", "--bundle", str(accepting_bundle), "--port", "1", CXR_TRUSTED_KEYS=str(tmp_path))
    assert nobody.returncode == 1
    assert "holds no *.pem" in nobody.stderr


def test_a_version_comes_in_once_it_is_signed(accepting_bundle: Path, start: Start, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    public, key_id = new_signing_key(tmp_path / "key")
    shutil.copy(public, trusted)
    key, stranger = SigningKey.read(tmp_path / "key"), tmp_path / "stranger"
    new_signing_key(stranger)
    first = Path(shutil.copytree(accepting_bundle, tmp_path / "bundles" / "first"))
    second = write_random_bundle(tmp_path / "bundles" / "second", ACCEPT_EVERYTHING, seed=1)
    name = read_manifest(second).model_version
    sign_bundle(first, key)
    operator = add_key(tmp_path / "callers.json", "ops", ["operate", "score"])
    settings = {
        "CXR_BUNDLES": str(tmp_path / "bundles"),
        "CXR_VERSIONS_FILE": str(tmp_path / "active.json"),
        "CXR_KEYS_FILE": str(tmp_path / "callers.json"),
        "CXR_TRUSTED_KEYS": str(trusted),
    }
    with (
        start(first, **settings) as service,
        httpx.Client(
            base_url=service.client.base_url, timeout=ANSWER_SECONDS, headers={"Authorization": f"Bearer {operator}"}
        ) as client,
    ):

        def listed() -> dict[str, Any]:
            return {each["folder"]: each for each in client.get("/v1/versions").json()["versions"]}

        def refused(words: str) -> None:
            assert words in assert_problem(client.post(f"/v1/versions/{name}/shadow"), 503)["detail"]
            entry = listed()["second"]
            assert (entry["verified"], entry["signed_by"]) == (False, None)
            assert words in entry["reason"]

        assert client.get("/v1/model").json()["signed_by"] == key_id
        assert (ready_line(service)["signed"], ready_line(service)["signed_by"]) == (True, key_id)
        refused("the bundle is not signed")
        sign_bundle(second, SigningKey.read(stranger))
        refused("not among the trusted ones")
        sign_bundle(second, key)
        assert listed()["second"]["signed_by"] == key_id
        assert client.post(f"/v1/versions/{name}/shadow").status_code == 200
        assert client.post(f"/v1/versions/{name}/promote").status_code == 200
        answer = client.post("/v1/score", content=png(), headers={"Content-Type": "image/png"}).json()
        assert answer["model_version"] == name
        # A key that is taken away is none from now on; what judges goes on judging.
        (trusted / public.name).unlink()
        shutil.copy(f"{stranger}.pem", trusted)
        assert {entry["verified"] for entry in listed().values()} == {False}
        assert client.post("/v1/score", content=png(), headers={"Content-Type": "image/png"}).status_code == 200
