"""What is built from: hashes, licences, the bill of materials, and the digests of base images."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import inventory, licences, pin_images, sbom
from scripts.inventory import Package

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "artifacts" / "default"
LOCKS = sorted(ROOT.glob("requirements*.lock"))
#: Of a lock file, read another way than the code does.
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def test_everything_that_is_installed_has_a_hash() -> None:
    assert [lock.name for lock in LOCKS] == [
        "requirements-fuzz.lock",
        "requirements-serve.lock",
        "requirements-tools.lock",
        "requirements.lock",
    ]
    for lock in LOCKS:
        entries = re.split(r"\n(?=[A-Za-z])", "\n" + lock.read_text().partition("\n\n")[0])
        assert all("--hash=sha256:" in entry for entry in entries if PINNED.match(entry)), lock
    for name in ("Makefile", "Dockerfile"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        installs = [line for line in text.splitlines() if re.search(r"pip install", line) and not line.startswith("#")]
        assert len(installs) >= 2
        for line in installs:
            assert "--require-hashes" in line or {"--no-deps", "--no-build-isolation"} <= set(line.split()), line


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-serve.lock"])
def test_the_build_backend_is_among_what_is_locked(lock: str) -> None:
    """It is built without isolation, so with this one: pyproject.toml asks for no more."""
    pins = dict(PINNED.findall((ROOT / lock).read_text()))
    assert int(pins["setuptools"].split(".")[0]) >= 77
    assert 'requires = ["setuptools>=77"]' in (ROOT / "pyproject.toml").read_text()


# Licences.


def test_all_that_is_served_may_be() -> None:
    """Here, of what is installed; nothing is asked of a network (make licences)."""
    assert licences.faults() == []


@pytest.mark.parametrize(
    ("expression", "free"),
    [
        ("MIT", True),
        ("MIT OR GPL-2.0-only", True),
        ("BSD-3-Clause AND 0BSD AND Zlib", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("Apache-2.0 AND LicenseRef-Proprietary", False),
        ("(MIT", False),
        ("a licence of its own", False),
        ("", False),
    ],
)
def test_which_licences_are_free(expression: str, free: bool) -> None:
    assert licences.is_free(expression) is free


@pytest.mark.parametrize(
    ("package", "reason"),
    [(Package("numpy", "0.1", ()), "installed as"), (Package("no-such-package", "1", ()), "is not installed")],
)
def test_what_cannot_be_read_is_told(package: Package, reason: str) -> None:
    with pytest.raises(LookupError, match=reason):
        inventory.declared_licence(package)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [("GPL-3.0-only", "not on the list"), (None, "names no licence"), ("LGPL-2.1-only", "not on the list")],
)
def test_another_licence_is_told(declared: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "locked", lambda: iter([Package("httpx", "1", ())]))
    monkeypatch.setattr(licences, "exceptions", dict)
    monkeypatch.setattr(licences, "declared_licence", lambda _: declared)
    (fault,) = licences.faults()
    assert "httpx 1" in fault
    assert reason in fault


def test_an_exception_holds_for_the_licence_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "locked", lambda: iter([Package("psycopg", "4", ())]))
    monkeypatch.setattr(licences, "exceptions", lambda: {"psycopg": inventory.Excepted("LGPL-3.0-only", "")})
    monkeypatch.setattr(licences, "declared_licence", lambda _: "LGPL-3.0-only")
    assert licences.faults() == []
    monkeypatch.setattr(licences, "declared_licence", lambda _: "AGPL-3.0-only")
    assert "AGPL" in licences.faults()[0]


# The bill of materials.


def test_the_bill_names_all_that_is_served() -> None:
    made = sbom.document(BUNDLE, "zlib1g\t1:1.2.13.dfsg-1\tamd64\nlibstdc++6\t12.2.0-14+deb12u1\tamd64\n")
    components = {part["bom-ref"]: part for part in made["components"]}
    assert len(components) == len(made["components"])
    pins = {f"pkg:pypi/{name}@{version}" for name, version in PINNED.findall(inventory.LOCK.read_text())}
    ours = {ref for ref in components if ref.startswith("pkg:pypi/")}
    assert ours <= pins
    assert {"torch", "fastapi", "pydicom", "openvino", "psycopg"} <= {components[ref]["name"] for ref in ours}
    assert all(components[ref]["licenses"] and components[ref]["properties"] for ref in ours)
    library = components["pkg:npm/swagger-ui-dist@5.35.0"]
    script = ROOT / "app/http/static/swagger-ui/swagger-ui-bundle.js"
    assert library["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(script.read_bytes()).hexdigest()}]
    (bundle,) = (part for part in made["components"] if part["type"] == "machine-learning-model")
    assert bundle["version"] == json.loads((BUNDLE / "manifest.json").read_text())["model_version"]
    for part in bundle["components"]:
        assert part["hashes"][0]["content"] == hashlib.sha256((BUNDLE / part["name"]).read_bytes()).hexdigest()
    assert components["pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=amd64"]["name"] == "zlib1g"
    assert "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64" in components
    assert {part["name"] for part in made["components"] if part["type"] == "container"} >= {"python", "debian"}


def test_no_javascript_is_kept_that_the_bill_does_not_name() -> None:
    """The page's own files are built from web/, which needs no library at run time."""
    kept = {path.relative_to(ROOT / "app/http/static") for path in (ROOT / "app/http/static").rglob("*.js")}
    own = {Path("page/ops.js"), Path("page/viewer.js")}
    assert kept == own | {Path("swagger-ui/swagger-ui-bundle.js")}
    assert "dependencies" not in json.loads((ROOT / "web/package.json").read_text())


def test_the_bill_is_the_same_each_time_and_says_what_it_lacks(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        command = [sys.executable, "-m", "scripts.sbom", "--output", str(tmp_path / "made" / name)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert "not listed: build the image" in told.stdout
        written.append((tmp_path / "made" / name).read_bytes())
    assert written[0] == written[1]
    (tmp_path / "listed").write_text("no tabs here\n")
    command += ["--debian-packages", str(tmp_path / "listed")]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (refused.returncode, "no tabs here" in refused.stderr) == (1, True)


# Base images.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in inventory.WITH_IMAGES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A docker that does as it is told."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_every_image_that_is_not_built_here_is_found() -> None:
    """By another reading of the files than the code's."""
    named = set()
    for name in inventory.WITH_IMAGES:
        for line in (ROOT / name).read_text().splitlines():
            words = line.split()
            if words and words[0] in {"FROM", "image:"} and not words[1].startswith("cxr-gate"):
                named.add(words[1].partition("@")[0])
    assert inventory.base_images().keys() == named
    assert len(named) == 5


def test_digests_are_put_behind_the_tags_and_followed(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        docker(tmp_path, monkeypatch, f'test "$3" = inspect && printf "sha256:%064d\\n" {number}')
        pin_images.pin(checkout)
        assert set(inventory.base_images(checkout).values()) == {f"sha256:{number:064d}"}
    for name in inventory.WITH_IMAGES:
        without = re.sub(r"@sha256:[0-9a-f]{64}", "", (checkout / name).read_text())
        assert without == re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / name).read_text())
    assert f"FROM python:3.12-slim-bookworm@sha256:{2:064d} AS builder" in (checkout / "Dockerfile").read_text()
    assert "image: cxr-gate:0.1.0\n" in (checkout / "docker-compose.yml").read_text()


@pytest.mark.parametrize("script", ["exit 1", "echo 'manifest unknown' >&2; exit 1", "echo latest", "echo"])
def test_where_a_digest_cannot_be_had_nothing_is_changed(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    docker(tmp_path, monkeypatch, script)
    with pytest.raises(pin_images.Unresolved):
        pin_images.pin(checkout)
    for name in inventory.WITH_IMAGES:
        assert (checkout / name).read_bytes() == (ROOT / name).read_bytes()
