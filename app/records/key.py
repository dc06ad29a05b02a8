"""Keyed hashes of instances, films and entries: nobody without the key can make or guess one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app import durable

KEY_BYTES: Final = 32


class KeyFileError(Exception):
    """The key's file cannot be used; the message says why, and never what is in it."""


class RecordKey:
    """HMAC-SHA256 under one key. UIDs are few and guessable: a hash without a key would not hide them.

    Parameters
    ----------
    secret : bytes
        32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._secret = secret
        # A key of its own, so that no hash of an instance or a film can be passed off as a seal.
        self._seal_secret = hmac.digest(secret, b"seal of entries\0", "sha256")

    @classmethod
    def random(cls) -> RecordKey:
        """A new key that is stored nowhere: for records that end with the process."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def from_file(cls, path: Path, *, make: bool = True) -> RecordKey:
        """Read the key (64 hexadecimal digits); `make` makes a missing file, which only its owner can read.

        Raises
        ------
        KeyFileError
            The file is unreadable, readable by others, or holds no key.
        """
        try:
            if make and not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileExistsError):  # of several makers one wins, and all read the same
                    durable.create(path, secrets.token_hex(KEY_BYTES).encode() + b"\n", mode=durable.PRIVATE)
            if path.stat().st_mode & 0o077:
                raise KeyFileError(f"the key file {path} can be read by others; run chmod 600 on it")
            return cls(bytes.fromhex(path.read_text("ascii").strip()))
        except OSError as error:
            raise KeyFileError(f"the key file {path} cannot be read or made ({error.strerror})") from error
        except ValueError as error:
            raise KeyFileError(f"the key file {path} does not hold {2 * KEY_BYTES} hexadecimal digits") from error

    @property
    def id(self) -> str:
        """A public name of the key, 32 hexadecimal digits, which reveals nothing about it."""
        return self._hash(b"id of a record's key", b"")[:32]

    def of_uid(self, uid: str) -> str:
        """Hash of a SOPInstanceUID, 64 hexadecimal digits."""
        return self._hash(b"SOPInstanceUID", uid.encode())

    def of_pixels(self, pixels: NDArray[np.float32]) -> str:
        """Hash of a decoded film, 64 hexadecimal digits.

        Parameters
        ----------
        pixels : ndarray, shape (rows, columns), float32, in [0, 1]
            As the network gets them: after LUTs, window and inversion, so that a tag that changes them changes the hash.
        """
        shape = b"%d x %d pixels" % pixels.shape
        return self._hash(shape, np.ascontiguousarray(pixels, dtype="<f4").data.cast("B"))

    @property
    def of_reports(self) -> bytes:
        """A separate key for the UIDs of reports, which reveals nothing of this one."""
        return hmac.digest(self._secret, b"UIDs of reports\0", "sha256")

    def seal(self, content: bytes) -> str:
        """Seal of an entry's content, 64 hexadecimal digits."""
        return hmac.digest(self._seal_secret, content, "sha256").hex()

    def _hash(self, kind: bytes, content: bytes | memoryview) -> str:
        made = hmac.new(self._secret, kind + b"\0", hashlib.sha256)
        made.update(content)
        return made.hexdigest()
