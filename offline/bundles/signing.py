"""Sign bundles. ``app.pipeline.signature`` verifies them; the private key never reaches a serving machine."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from app.pipeline.bundle import MANIFEST, check_files, parse_manifest
from app.pipeline.errors import BundleError
from app.pipeline.manifest import Manifest
from app.pipeline.signature import SIGNATURE, encode_signature, key_id_of

#: Suffix of the public key's file, which CXR_TRUSTED_KEYS takes.
PUBLIC_SUFFIX: Final = ".pem"


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 private key."""

    _key: Ed25519PrivateKey

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Read a key that ``new_signing_key`` or openssl (``genpkey -algorithm ed25519``) wrote.

        Raises
        ------
        BundleError
            The file is unreadable, or readable by others, or holds no such key.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise BundleError(f"the signing key {path} can be read by others; run chmod 600 on it")
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise BundleError(f"the signing key {path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BundleError(f"{path} is no unencrypted private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BundleError(f"{path} is a private key of another kind; bundles are signed with Ed25519")
        return cls(key)

    @property
    def id(self) -> str:
        """The identifier of the public key."""
        return key_id_of(self._key.public_key())

    def sign(self, manifest: bytes) -> bytes:
        """Content of the manifest -> content of ``manifest.sig``."""
        return encode_signature(self.id, self._key.sign(manifest))


def new_signing_key(path: Path) -> tuple[Path, str]:
    """Make a key: the private half at `path`, readable by its owner alone, and the public half beside it.

    Returns
    -------
    Path of the public half, and its identifier.

    Raises
    ------
    BundleError
        One of the two files already exists, or cannot be written.
    """
    public = path.with_name(path.name + PUBLIC_SUFFIX)
    key = Ed25519PrivateKey.generate()
    halves = (
        (path, 0o600, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        (public, 0o644, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    )
    for half, mode, content in halves:
        try:
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except FileExistsError as error:
            raise BundleError(f"{half} is there already; a key is never replaced, name another file") from error
        except OSError as error:
            raise BundleError(f"{half} cannot be written: {error.strerror}") from error
    return public, key_id_of(key.public_key())


def sign_bundle(folder: Path, key: SigningKey) -> Manifest:
    """Check a bundle's files against its manifest, and sign it. An existing signature is replaced.

    The signature covers the checked bytes, even if the manifest changes meanwhile.

    Raises
    ------
    BundleError
        The bundle does not verify, or the signature cannot be written.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = parse_manifest(content)
        check_files(folder, manifest)
        descriptor, beside = tempfile.mkstemp(prefix=f".{SIGNATURE}-", dir=folder)
        with open(descriptor, "wb") as file:
            file.write(key.sign(content))
            os.fchmod(descriptor, 0o644)
        os.replace(beside, folder / SIGNATURE)
    except OSError as error:
        raise BundleError(f"{folder} cannot be signed: {error.strerror}") from error
    return manifest
