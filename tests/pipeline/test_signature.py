"""With trusted keys, a bundle is taken only as the owner of one of them signed it, to the bit."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.pipeline import read_bundle
from app.pipeline.bundle import MANIFEST, MODEL_CARD, NETWORK
from app.pipeline.errors import BundleError
from app.pipeline.gate import GAUSSIAN
from app.pipeline.signature import SIGNATURE, TrustedKeys, encode_signature, key_id_of
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle

MANIFEST_BYTES = b'{"files": {"a": "1"}}\n'


def pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(key: Ed25519PrivateKey, manifest: bytes) -> bytes:
    return encode_signature(key_id_of(key.public_key()), key.sign(manifest))


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def trusted(key: Ed25519PrivateKey, tmp_path: Path) -> TrustedKeys:
    (tmp_path / "site.pem").write_bytes(pem(key))
    return TrustedKeys.read(tmp_path / "site.pem")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("bundles") / "random", ACCEPT_EVERYTHING)


@pytest.fixture
def bundle(written: Path, tmp_path: Path, key: Ed25519PrivateKey) -> Path:
    """Signed by the key."""
    folder = Path(shutil.copytree(written, tmp_path / "bundle"))
    (folder / SIGNATURE).write_bytes(signed(key, (folder / MANIFEST).read_bytes()))
    return folder


def test_the_signer_is_named(key: Ed25519PrivateKey, trusted: TrustedKeys, bundle: Path) -> None:
    assert read_bundle(bundle, trusted).signed_by == key_id_of(key.public_key())
    assert trusted.ids == {key_id_of(key.public_key())}


def test_without_trusted_keys_a_signature_is_not_believed(bundle: Path) -> None:
    assert read_bundle(bundle).signed_by is None


def test_a_bundle_that_is_not_signed_is_refused(trusted: TrustedKeys, written: Path) -> None:
    with pytest.raises(BundleError, match="is not signed"):
        read_bundle(written, trusted)


def test_every_bit_of_the_signature_counts(key: Ed25519PrivateKey, trusted: TrustedKeys) -> None:
    right = signed(key, MANIFEST_BYTES)
    assert trusted.signer(MANIFEST_BYTES, right) in trusted.ids
    for place in range(8 * len(right)):
        wrong = bytearray(right)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(BundleError):
            trusted.signer(MANIFEST_BYTES, bytes(wrong))


def test_every_bit_of_the_manifest_counts(key: Ed25519PrivateKey, trusted: TrustedKeys, written: Path) -> None:
    manifest = (written / MANIFEST).read_bytes()
    signature = signed(key, manifest)
    assert trusted.signer(manifest, signature) in trusted.ids
    for place in range(8 * len(manifest)):
        wrong = bytearray(manifest)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(BundleError, match="one of the two was altered"):
            trusted.signer(bytes(wrong), signature)


def content_of(key: Ed25519PrivateKey) -> dict[str, str]:
    return dict(json.loads(signed(key, MANIFEST_BYTES)))


#: Key -> content of a signature's file that says nothing of the manifest, or says it in another way.
UNFIT: dict[str, Callable[[Ed25519PrivateKey], bytes]] = {
    "empty": lambda key: b"",
    "no JSON": lambda key: b"{",
    "a list": lambda key: b"[]",
    "no fields": lambda key: b"{}",
    "not UTF-8": lambda key: b"\xff\xfe\xff",
    "deep": lambda key: b"[" * 4096,
    "a list as identifier": lambda key: (json.dumps({"key_id": [], "signature": ""}) + "\n").encode(),
    "spaces": lambda key: signed(key, MANIFEST_BYTES) + b" ",
    "indented": lambda key: json.dumps(content_of(key), indent=2).encode(),
    "a field more": lambda key: (json.dumps({**content_of(key), "more": 1}) + "\n").encode(),
    "unpadded": lambda key: signed(key, MANIFEST_BYTES).replace(b"=", b""),
    "short": lambda key: encode_signature(key_id_of(key.public_key()), key.sign(MANIFEST_BYTES)[:63]),
    "of nothing": lambda key: encode_signature(key_id_of(key.public_key()), bytes(64)),
    "of another manifest": lambda key: signed(key, MANIFEST_BYTES.strip()),
    "by another key": lambda key: signed(Ed25519PrivateKey.generate(), MANIFEST_BYTES),
    "by another key under this one's name": lambda key: encode_signature(
        key_id_of(key.public_key()), Ed25519PrivateKey.generate().sign(MANIFEST_BYTES)
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_signature_that_is_none(name: str, key: Ed25519PrivateKey, trusted: TrustedKeys) -> None:
    with pytest.raises(BundleError):
        trusted.signer(MANIFEST_BYTES, UNFIT[name](key))


def test_the_vector_of_rfc_8032(tmp_path: Path) -> None:
    """Test 2 of section 7.1: what is verified is Ed25519 itself, over the bytes as they are."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    raw = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = Ed25519PublicKey.from_public_bytes(public)
    (tmp_path / "rfc.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert TrustedKeys.read(tmp_path / "rfc.pem").signer(b"\x72", encode_signature(key_id_of(key), raw)) == key_id_of(
        key
    )


@pytest.mark.parametrize("name", [NETWORK, GAUSSIAN, MODEL_CARD])
def test_a_file_of_another_bundle(name: str, trusted: TrustedKeys, bundle: Path, tmp_path: Path) -> None:
    other = write_random_bundle(tmp_path / "other", ACCEPT_EVERYTHING, seed=1)
    (other / MODEL_CARD).write_bytes(b"# Another card\n")
    os.replace(other / name, bundle / name)
    with pytest.raises(BundleError, match=f"{name} has another SHA-256"):
        read_bundle(bundle, trusted)


def test_a_manifest_of_another_bundle_with_all_its_files(trusted: TrustedKeys, bundle: Path, tmp_path: Path) -> None:
    other = write_random_bundle(tmp_path / "other", ACCEPT_EVERYTHING, seed=1)
    shutil.copy(bundle / SIGNATURE, other)
    with pytest.raises(BundleError, match="one of the two was altered"):
        read_bundle(other, trusted)


def test_the_signature_is_looked_at_before_the_manifest_is_parsed(trusted: TrustedKeys, bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(b"{")
    with pytest.raises(BundleError, match="one of the two was altered"):
        read_bundle(bundle, trusted)


def test_what_was_verified_is_what_is_used(
    trusted: TrustedKeys, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file is replaced by another bundle's as soon as it was read for the first time."""
    other = write_random_bundle(tmp_path / "other", ACCEPT_EVERYTHING, seed=1)
    before = read_bundle(bundle, trusted)
    read = Path.read_bytes
    replaced = []

    def read_then_replace(path: Path) -> bytes:
        content = read(path)
        if path.is_relative_to(bundle):
            shutil.copy(other / path.relative_to(bundle), path)
            replaced.append(path.name)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_replace)
    after = read_bundle(bundle, trusted)
    assert {MANIFEST, NETWORK, GAUSSIAN} <= set(replaced)
    assert after.manifest == before.manifest
    assert (after.density.mean == before.density.mean).all()
    assert (after.network.classifier.weight == before.network.classifier.weight).all()
    monkeypatch.undo()
    with pytest.raises(BundleError):
        read_bundle(bundle, trusted)


def test_several_keys_so_that_one_can_follow_the_other(bundle: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    successor = Ed25519PrivateKey.generate()
    (folder / "old.pem").write_bytes(pem(key))
    (folder / "new.pem").write_bytes(pem(successor))
    (folder / "README").write_text("not a key, and not looked at")
    assert read_bundle(bundle, TrustedKeys.read(folder)).signed_by == key_id_of(key.public_key())
    (bundle / SIGNATURE).write_bytes(signed(successor, (bundle / MANIFEST).read_bytes()))
    assert read_bundle(bundle, TrustedKeys.read(folder)).signed_by == key_id_of(successor.public_key())
    (folder / "new.pem").unlink()
    with pytest.raises(BundleError, match="not among the trusted ones"):
        read_bundle(bundle, TrustedKeys.read(folder))


def test_keys_that_are_none_trust_nobody(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no \*\.pem"):
        TrustedKeys.read(tmp_path)
    with pytest.raises(BundleError, match="cannot be read"):
        TrustedKeys.read(tmp_path / "nowhere")
    (tmp_path / "a.pem").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"a\.pem is no public key"):
        TrustedKeys.read(tmp_path)
    rsa = generate_private_key(65537, 2048).public_key()
    (tmp_path / "a.pem").write_bytes(rsa.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BundleError, match="of another kind"):
        TrustedKeys.read(tmp_path)
    (tmp_path / "a.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(BundleError, match="is a private key"):
        TrustedKeys.read(tmp_path)


def test_a_pipe_in_the_place_of_a_signature_does_not_hang(trusted: TrustedKeys, bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()
    os.mkfifo(bundle / SIGNATURE)
    with pytest.raises(BundleError):
        read_bundle(bundle, trusted)


def test_base64_has_one_form(key: Ed25519PrivateKey, trusted: TrustedKeys) -> None:
    """The last digit of 64 bytes carries two bits, and its other four are ignored by most decoders."""
    content = content_of(key)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text = content["signature"]
    same = text[:-3] + alphabet[alphabet.index(text[-3]) ^ 1] + "=="
    assert base64.b64decode(same) == base64.b64decode(text)
    with pytest.raises(BundleError, match="not a signature in the format"):
        trusted.signer(MANIFEST_BYTES, (json.dumps({**content, "signature": same}) + "\n").encode())
