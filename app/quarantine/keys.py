"""Keys that films are encrypted with: the first encrypts, all of them decrypt, so that they can be changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
ID_BYTES: Final = 8


class QuarantineKeyError(Exception):
    """There is no key, or the text is no key; the message says why, and never quotes it."""


@dataclass(frozen=True)
class QuarantineKey:
    """One key of AES-256, and the name by which films refer to it.

    Attributes
    ----------
    id : bytes
        8 bytes of a hash of the key, which reveal nothing of it.
    """

    id: bytes
    secret: bytes

    @classmethod
    def of(cls, secret: bytes) -> QuarantineKey:
        """Name a key of 32 bytes."""
        return cls(hashlib.sha256(b"id of a quarantine key\0" + secret).digest()[:ID_BYTES], secret)


class QuarantineKeys:
    """The keys in their order; ``first`` encrypts.

    Parameters
    ----------
    text : str
        Base64 of 32 bytes each (``openssl rand -base64 32``), one a line; empty lines and those after ``#`` are skipped.

    Raises
    ------
    QuarantineKeyError
    """

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        keys = [_key(line, number) for number, line in enumerate(lines, start=1) if line and not line.startswith("#")]
        if not keys:
            raise QuarantineKeyError("there is no key in it; make one with openssl rand -base64 32")
        self.first = keys[0]
        self._by_id = {key.id: key for key in keys}

    @classmethod
    def from_file(cls, path: Path) -> QuarantineKeys:
        """Read the keys from a file.

        Raises
        ------
        QuarantineKeyError
            The file is unreadable, readable by others, or holds something that is no key.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise QuarantineKeyError(f"{path} can be read by others; run chmod 600 on it")
            return cls(path.read_text("ascii"))
        except OSError as error:
            raise QuarantineKeyError(f"{path} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise QuarantineKeyError(f"{path} is not base64") from error

    def find(self, key_id: bytes) -> QuarantineKey | None:
        """The key with this name, if there is one."""
        return self._by_id.get(key_id)


def _key(line: str, number: int) -> QuarantineKey:
    try:
        secret = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise QuarantineKeyError(f"line {number} is not the base64 of {KEY_BYTES} bytes (openssl rand -base64 32)")
    return QuarantineKey.of(secret)
