"""UIDs that are made from what a result is about, so that the same result always has the same UID."""

from __future__ import annotations

import hashlib
import uuid

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID


def pixels_digest(pixels: NDArray[np.float32]) -> str:
    """SHA-256 in hex of decoded pixels, shape (rows, columns), float32: the same for every lossless encoding of a film."""
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, dtype="<f4").data)
    return digest.hexdigest()


def derived_uid(*parts: str) -> UID:
    """A UID made from text: ``2.25.`` and a UUID as a decimal number (PS3.5 section B.2).

    Two shared films may have one SOPInstanceUID and other pixels, so callers put the digest of the pixels among the
    parts. Neither the UID nor its parts can be told from the result, but whoever knows all parts can make it again.
    """
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    # The version and variant bits of a name-based UUID, since PS3.5 asks for a UUID that is one (ISO/IEC 9834-8).
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")
