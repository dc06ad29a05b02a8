"""Keys and signatures by the commands, as an ML engineer and an operator call them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from app.cli import main as cxr_gate
from app.pipeline.bundle import MANIFEST, MODEL_CARD
from app.pipeline.signature import SIGNATURE
from offline.cli import main as cxr_offline
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("bundles") / "random", ACCEPT_EVERYTHING)


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert cxr_offline(["new-signing-key", "--output", str(tmp_path / "site.key")]) == 0
    return tmp_path / "site.key"


def test_a_key_is_its_owners_alone_and_never_replaced(key: Path, capsys: Captured) -> None:
    public = key.with_name("site.key.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    before = key.read_bytes()
    assert cxr_offline(["new-signing-key", "--output", str(key)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert key.read_bytes() == before


def test_sign_and_verify(bundle: Path, key: Path, tmp_path: Path, capsys: Captured) -> None:
    verify = ["verify-bundle", str(bundle), "--trusted-keys", str(tmp_path / "site.key.pem")]
    assert cxr_gate(verify) == 1
    assert "is not signed" in capsys.readouterr().err
    assert cxr_gate(["verify-bundle", str(bundle)]) == 0
    assert "NOT CHECKED" in capsys.readouterr().out
    assert cxr_offline(["sign", str(bundle), "--key", str(key)]) == 0
    assert sorted(path.name for path in bundle.iterdir() if path.name.startswith(".")) == []
    (bundle / "surplus.txt").write_text("more than the manifest lists")
    capsys.readouterr()
    assert cxr_gate(verify) == 0
    told = capsys.readouterr().out
    key_id = json.loads((bundle / SIGNATURE).read_bytes())["key_id"]
    assert f"signed by {key_id}, which is trusted" in told
    assert "network.safetensors: SHA-256" in told
    assert "surplus.txt: not listed, and never read" in told
    assert "code not stated" in told
    assert cxr_gate(["check-bundle", str(bundle), "--device", "cpu"]) == 0


def test_what_is_damaged_is_not_signed(bundle: Path, key: Path, capsys: Captured) -> None:
    (bundle / MODEL_CARD).write_text("# altered\n")
    assert cxr_offline(["sign", str(bundle), "--key", str(key)]) == 1
    assert "MODEL_CARD.md has another SHA-256" in capsys.readouterr().err
    assert not (bundle / SIGNATURE).exists()


def test_a_key_that_others_can_read_or_that_is_none(bundle: Path, key: Path, tmp_path: Path, capsys: Captured) -> None:
    sign = ["sign", str(bundle), "--key"]
    assert cxr_offline([*sign, str(tmp_path / "nowhere")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    public = tmp_path / "site.key.pem"
    public.chmod(0o600)
    assert cxr_offline([*sign, str(public)]) == 1
    assert "no unencrypted private key" in capsys.readouterr().err
    key.chmod(0o640)
    assert cxr_offline([*sign, str(key)]) == 1
    assert "can be read by others" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_it_too(bundle: Path, key: Path, tmp_path: Path) -> None:
    """As docs/versions.md says, for those who would not take our word."""
    assert cxr_offline(["sign", str(bundle), "--key", str(key)]) == 0
    signature = base64.b64decode(json.loads((bundle / SIGNATURE).read_bytes())["signature"])
    (tmp_path / "raw").write_bytes(signature)
    public = tmp_path / "site.key.pem"
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", "-in"]
    done = subprocess.run(
        [*verify, str(bundle / MANIFEST), "-sigfile", str(tmp_path / "raw")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Verified Successfully" in done.stdout
