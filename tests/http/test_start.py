"""A bundle that does not verify, and a setting that cannot be meant, stop the start with a reason."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli import main
from app.commands import make_application
from app.pipeline import bundle as bundle_format
from app.pipeline.errors import PipelineError
from app.settings import Settings, SettingsError
from tests.http.conftest import Start
from tests.support.bundles import ACCEPT_EVERYTHING, random_network, simple_gaussian, write_random_bundle
from tests.support.films import png
from tests.support.processes import run_command


def _change_a_byte(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _gaussian_of_another(folder: Path) -> None:
    other = write_random_bundle(folder.parent / "other", ACCEPT_EVERYTHING, seed=1)
    shutil.copy(other / "gaussian.safetensors", folder)


def _gaussian_of_another_well_signed(folder: Path) -> None:
    _gaussian_of_another(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["model_version"]
    manifest["files"]["gaussian.safetensors"] = hashlib.sha256(
        (folder / "gaussian.safetensors").read_bytes()
    ).hexdigest()
    signed = bundle_format._versioned(manifest)
    (folder / "manifest.json").write_text(json.dumps(signed.model_dump(mode="json")))


def _gaussian_of_another_under_this_ones_name(folder: Path) -> None:
    write_random_bundle(folder, ACCEPT_EVERYTHING, gaussian=simple_gaussian(random_network(1)))


def _lower_threshold(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["gate"]["threshold"] = -5.0
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _new_format(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 4}))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "network-byte": (_change_a_byte("network.safetensors"), "network.safetensors has another SHA-256"),
    "gaussian-byte": (_change_a_byte("gaussian.safetensors"), "gaussian.safetensors has another SHA-256"),
    "golden-byte": (_change_a_byte("golden.safetensors"), "golden.safetensors has another SHA-256"),
    "card-byte": (_change_a_byte("MODEL_CARD.md"), "MODEL_CARD.md has another SHA-256"),
    "no-network": (_remove("network.safetensors"), "network.safetensors is missing"),
    "no-gaussian": (_remove("gaussian.safetensors"), "gaussian.safetensors is missing"),
    "no-golden": (_remove("golden.safetensors"), "golden.safetensors is missing"),
    "no-manifest": (_remove("manifest.json"), "manifest.json"),
    "no-json": (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    "threshold": (_lower_threshold, "changed after it was written"),
    "new-format": (_new_format, "format_version"),
    "gaussian-copied": (_gaussian_of_another, "gaussian.safetensors has another SHA-256"),
    "gaussian-signed": (_gaussian_of_another_well_signed, "fitted on another network"),
    "gaussian-renamed": (_gaussian_of_another_under_this_ones_name, "golden log densities"),
}
#: The server reads a bundle as check-bundle does; these differ in where they are found: in the reading, and in the proving.
DAMAGES_FOR_SERVER = ("network-byte", "gaussian-renamed")


def _damaged(accepting_bundle: Path, folder: Path, damage: str) -> Path:
    copy = folder / "bundle"
    shutil.copytree(accepting_bundle, copy)
    DAMAGES[damage][0](copy)
    return copy


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_bundle_refuses(
    accepting_bundle: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: it reads many bundles, and the start of another takes longer than that."""
    assert main(["check-bundle", str(_damaged(accepting_bundle, tmp_path, damage)), "--device", "cpu"]) == 1
    told = capsys.readouterr()
    assert DAMAGES[damage][1] in told.err
    assert told.out == ""


def test_the_command_check_bundle_refuses(accepting_bundle: Path, tmp_path: Path) -> None:
    ended = run_command("check-bundle", str(_damaged(accepting_bundle, tmp_path, "network-byte")), "--device", "cpu")
    assert ended.returncode == 1, ended.stderr
    assert DAMAGES["network-byte"][1] in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("damage", DAMAGES_FOR_SERVER)
def test_serve_refuses(accepting_bundle: Path, tmp_path: Path, damage: str) -> None:
    folder = _damaged(accepting_bundle, tmp_path, damage)
    ended = run_command("serve", "--bundle", str(folder), "--port", "0", "--device", "cpu")
    assert ended.returncode == 1, ended.stderr
    assert DAMAGES[damage][1] in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_bundle_passes_a_good_one(accepting_bundle: Path) -> None:
    ended = run_command("check-bundle", str(accepting_bundle), "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert "densenet121-mgm-" in ended.stdout
    assert re.search(r"on (torch|openvino) \d+\.\d+.*, float32, ", ended.stdout)


def test_the_backend_that_was_named_serves_and_is_told(start: Start) -> None:
    with start(CXR_BACKEND="torch", CXR_INFERENCE_THREADS="1") as service:
        described = service.get("/v1/model").json()
        assert (described["backend"], described["device"]) == ("torch", "cpu")
        (build,) = re.findall(r"^cxr_build_info\{(.*)\} 1", service.get("/metrics").text, re.MULTILINE)
        assert re.search(r'backend="torch [^"]+, float32, CPU, 1 threads"', build)
        assert service.post(png()).status_code == 200
        assert re.search(r'"backends": \["torch [^"]+, 1 threads"\]', service.logged())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"CXR_BACKEND": "tensorrt"}, "not one of auto, torch, openvino"),
        ({"CXR_BACKEND": "openvino", "CXR_DEVICE": "cuda:0"}, "cuda:0"),
        ({"CXR_DEVICE": "cpu,cpu"}, "twice"),
    ],
    ids=["unknown", "openvino on a GPU", "twice"],
)
def test_a_backend_that_is_not_there_is_no_reason_to_take_another(
    accepting_bundle: Path, settings: dict[str, str], reason: str
) -> None:
    with pytest.raises((SettingsError, PipelineError), match=reason):
        make_application(Settings.from_environment({**settings, "CXR_BUNDLE": str(accepting_bundle)}))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CXR_MAX_BODYBYTES", "5", "did you mean CXR_MAX_BODY_BYTES?"),
        ("CXR_MAX_WAITING", "many", "is not a whole number"),
        ("CXR_MAX_WAITING", "0", "over 0"),
        ("CXR_DEADLINE_SECONDS", "nan", "over 0"),
        ("CXR_BATCH_WAIT_MS", "inf", "finite"),
    ],
    ids=["typo", "word", "zero", "nan", "inf"],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, reason: str
) -> None:
    """Before the bundle is read, of which there is none."""
    monkeypatch.setenv(name, value)
    assert main(["serve", "--bundle", "nowhere", "--port", "0"]) == 1
    told = capsys.readouterr().err
    assert name in told
    assert reason in told


def test_the_command_names_a_wrong_setting_and_shows_no_traceback() -> None:
    ended = run_command("serve", "--bundle", "nowhere", "--port", "0", CXR_MAX_WAITING="many")
    assert ended.returncode == 1
    assert "CXR_MAX_WAITING" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CXR_RECORD_DAYS", "-1"),
        ("CXR_RECORD_DAYS", "1.5"),
        ("CXR_RECORD_OPTIONAL", "maybe"),
        ("CXR_DECODE_SANDBOX", "on"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_settings_of_the_record() -> None:
    read = Settings.from_environment({"CXR_RECORD_DAYS": "0", "CXR_RECORD_OPTIONAL": "true"})
    assert (read.record_days, read.record_optional) == (0, True)


def test_a_port_that_is_taken_is_an_error(accepting_bundle: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run_command("serve", "--bundle", str(accepting_bundle), "--port", str(port), "--device", "cpu")
    assert ended.returncode != 0
    assert os.strerror(errno.EADDRINUSE).lower() in ended.stderr.lower()
