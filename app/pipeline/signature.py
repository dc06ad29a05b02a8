"""Who made a bundle: an Ed25519 signature (RFC 8032) over the exact bytes of its manifest.

The manifest holds the SHA-256 of every other file, so a signature of it covers them all. The signature lies beside it, as
``manifest.sig``: {"key_id": ..., "signature": base64 of 64 bytes}. A key's identifier is the first half of the SHA-256 of
its 32 raw bytes, in hexadecimal; it only says which key to try.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .errors import BundleError

SIGNATURE: Final = "manifest.sig"
#: A signature's file has some 170 bytes, a public key's some 110.
_MOST_BYTES: Final = 4096


def key_id_of(key: Ed25519PublicKey) -> str:
    """32 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def encode_signature(key_id: str, signature: bytes) -> bytes:
    """Write a signature in the one allowed form; every other form is refused."""
    return (json.dumps({"key_id": key_id, "signature": base64.b64encode(signature).decode()}) + "\n").encode()


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys whose bundles may be served: at least one, by their identifiers."""

    _keys: dict[str, Ed25519PublicKey] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> TrustedKeys:
        """Read a PEM file, or all ``*.pem`` of a folder.

        Raises
        ------
        BundleError
            There is no key, or something else in its place.
        """
        try:
            files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
            keys = [_public_key(file) for file in files]
        except OSError as error:
            raise BundleError(f"the trusted keys {path} cannot be read: {error.strerror}") from error
        if not keys:
            raise BundleError(f"the folder of trusted keys {path} holds no *.pem file, so no bundle can be trusted")
        return cls({key_id_of(key): key for key in keys})

    @property
    def ids(self) -> frozenset[str]:
        """Identifiers of all keys."""
        return frozenset(self._keys)

    def signer(self, manifest: bytes, signature: bytes) -> str:
        """The identifier of the key that made this signature of this manifest.

        Parameters
        ----------
        manifest, signature : bytes
            Contents of the two files.

        Raises
        ------
        BundleError
            No trusted key did, or the file is no signature.
        """
        try:
            content = json.loads(signature)
            key_id: str = content["key_id"]
            raw = base64.b64decode(content["signature"], validate=True)
            # Base64 and JSON can write the same in several ways. Only one is allowed, so that no bit can be changed unnoticed.
            well_formed = isinstance(key_id, str) and encode_signature(key_id, raw) == signature
        except (ValueError, KeyError, TypeError, RecursionError):
            well_formed = False
        if not well_formed:
            raise BundleError(
                f"{SIGNATURE} is not a signature in the format of this service, or was altered; sign the bundle again"
            )
        key = self._keys.get(key_id)
        if key is None:
            raise BundleError(
                f"the bundle is signed by the key {key_id[:40]!r}, which is not among the trusted ones "
                f"({', '.join(sorted(self._keys))})"
            )
        try:
            key.verify(raw, manifest)
        except InvalidSignature:
            raise BundleError(
                f"{SIGNATURE} is no signature of this manifest by the key {key_id}: one of the two was altered"
            ) from None
        return key_id


def read_signature(folder: Path) -> bytes:
    """Content of the bundle's signature.

    Raises
    ------
    BundleError
        There is none.
    """
    try:
        return _small(folder / SIGNATURE)
    except OSError as error:
        raise BundleError(
            f"the bundle is not signed ({SIGNATURE}: {error.strerror}), and only bundles signed by a trusted "
            "key are accepted; check it, and sign it with 'cxr-offline sign'"
        ) from error


def _public_key(path: Path) -> Ed25519PublicKey:
    content = _small(path)
    if b"PRIVATE KEY" in content:
        raise BundleError(
            f"{path} is a private key, with which anybody who has it can sign; put only the public key here"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{path} is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{path} is a public key of another kind; bundles are signed with Ed25519")
    return key


def _small(path: Path) -> bytes:
    # Not blocking, so that a pipe in place of the file ends at once.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        return file.read(_MOST_BYTES)
