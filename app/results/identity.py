"""UIDs that are made under a key from the subject of a result, so that the same result always has the same UID."""

from __future__ import annotations

import hashlib
import hmac
import uuid

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID


def pixels_digest(pixels: NDArray[np.float32]) -> str:
    """SHA-256 in hex of decoded pixels, shape (rows, columns), float32: the same for every lossless encoding of a film."""
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, dtype="<f4").data)
    return digest.hexdigest()


def keyed_uid(key: bytes, *parts: str) -> UID:
    """A UID made from text, which nobody without the key can make: ``2.25.`` and a UUID as a decimal number (PS3.5 section B.2).

    Somebody who could foresee a report's UID could store another report under it first, and an archive keeps the
    instance that it has. Two films may share a SOPInstanceUID but have different pixels, and one film may be sent
    for two patients, so callers put all of these among the parts (``subject``).

    Parameters
    ----------
    key : bytes
        ``RecordKey.of_reports``.
    """
    return _uid(hmac.digest(key, "\0".join(parts).encode(), "sha256"))


def public_uid(*parts: str) -> UID:
    """A UID made from text that is neither secret nor of a film, such as that of a device."""
    return _uid(hashlib.sha256("\n".join(parts).encode()).digest())


def _uid(digest: bytes) -> UID:
    # The version and variant bits of a name-based UUID, since PS3.5 asks for a valid UUID (ISO/IEC 9834-8).
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")
