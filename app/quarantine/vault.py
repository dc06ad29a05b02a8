"""Films in a folder, encrypted: the files reveal nothing without a key.

    file = "CXRQ1" | key id (8 bytes) | nonce (12 bytes) | AES-256-GCM(4 bytes: length of about, big endian | about | film)

``about`` is JSON. Associated data are all bytes before the ciphertext, the film's id and the model version that rejected it:
a file that is changed, cut, or put in another's place is found.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app import durable

from .keys import ID_BYTES, QuarantineKeys

MAGIC: Final = b"CXRQ1"
NONCE_BYTES: Final = 12  # 96 random bits: with one key some 2^32 films are safe (NIST SP 800-38D section 8.3)
TAG_BYTES: Final = 16
_HEAD_BYTES: Final = len(MAGIC) + ID_BYTES + NONCE_BYTES
_SUFFIX: Final = ".film"
#: Films that the record does not know.
ORPHANS: Final = "orphans"
#: The file with the id of the key of the record to which the films belong.
MARK: Final = "record-key-id"
_ID: Final = re.compile(r"[0-9a-f]{32}(-[0-9]{1,6})?")


class FilmUnreadable(Exception):
    """A kept film cannot be read: its file is gone or was changed, or its key is not among the keys."""


class FolderInUse(Exception):
    """Another service keeps its films there."""


def is_film_id(text: str) -> bool:
    """Whether this can be the id of a film: the id of a request, or in STOW-RS that id and the number of the part."""
    return bool(_ID.fullmatch(text))


class Vault:
    """Films by their ids.

    Parameters
    ----------
    folder : Path
        Made if it is not there, for its owner alone.
    keys : QuarantineKeys

    Raises
    ------
    OSError
        The folder cannot be made or written to.
    """

    def __init__(self, folder: Path, keys: QuarantineKeys) -> None:
        self._folder = folder
        self._keys = keys
        self._held: int | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def hold(self) -> None:
        """Take the folder for this process alone, and remove files that another process left unfinished when it was killed.

        Raises
        ------
        FolderInUse
        """
        try:
            self._held = durable.lock(self._folder)
        except BlockingIOError as error:
            raise FolderInUse(
                f"another service keeps its films in {self._folder}; give each a folder of its own"
            ) from error
        self._folder.chmod(0o700)
        durable.remove_unfinished(self._folder)

    def let_go(self) -> None:
        """Leave the folder to others."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def sizes(self) -> dict[str, int]:
        """Id -> bytes of its file."""
        return {name: found.st_size for name, found in _films_in(self._folder).items()}

    # Of what belongs together.

    def record_key_id(self) -> str | None:
        """Id of the key of the record to which these films belong; None if none was noted."""
        try:
            return (self._folder / MARK).read_text("ascii", errors="replace").strip()
        except FileNotFoundError:
            return None

    def note_record_key_id(self, key_id: str) -> None:
        """Note the record to which these films belong."""
        durable.replace(self._folder / MARK, key_id.encode("ascii") + b"\n")

    def without_key(self, film_ids: Collection[str]) -> int:
        """How many of these films need a key that is not among the keys."""
        count = 0
        for film_id in film_ids:
            with open(self._path(film_id), "rb") as file:
                head = file.read(_HEAD_BYTES)
            whole = len(head) == _HEAD_BYTES and head.startswith(MAGIC)  # otherwise it was damaged, whatever its key
            count += whole and self._keys.find(head[len(MAGIC) : -NONCE_BYTES]) is None
        return count

    # Of films that the record does not know.

    def orphans(self) -> dict[str, float]:
        """Id -> Unix time at which it was set aside."""
        return {name: found.st_mtime for name, found in _films_in(self._folder / ORPHANS).items()}

    def set_aside(self, *film_ids: str) -> None:
        """Put films among the orphans."""
        if not film_ids:
            return
        (self._folder / ORPHANS).mkdir(mode=0o700, exist_ok=True)
        for film_id in film_ids:
            os.utime(self._path(film_id))  # their age counts from now on
            self._path(film_id).replace(self._aside(film_id))
        self._sync(orphans=True)

    def bring_back(self, *film_ids: str) -> None:
        """Put orphans among the films again."""
        for film_id in film_ids:
            self._aside(film_id).replace(self._path(film_id))
        if film_ids:
            self._sync(orphans=True)

    def remove_orphans(self, *film_ids: str) -> None:
        """Delete orphans."""
        for film_id in film_ids:
            self._aside(film_id).unlink(missing_ok=True)
        if film_ids:
            self._sync(orphans=True)

    def write(self, film_id: str, model_version: str, about: Mapping[str, Any], film: bytes) -> int:
        """Keep a film; when this returns it survives a crash of the machine. Gives the size of its file.

        Raises
        ------
        OSError
            Nothing of it is left.
        """
        written = json.dumps(about).encode()
        key = self._keys.first
        head = MAGIC + key.id + secrets.token_bytes(NONCE_BYTES)
        plain = b"".join((len(written).to_bytes(4, "big"), written, film))
        sealed = AESGCM(key.secret).encrypt(head[-NONCE_BYTES:], plain, _associated(head, film_id, model_version))
        try:
            durable.replace(self._path(film_id), head, sealed, mode=durable.PRIVATE)
        except OSError:
            self._path(film_id).unlink(missing_ok=True)
            raise
        return len(head) + len(sealed)

    def read(self, film_id: str, model_version: str) -> tuple[dict[str, Any], bytes]:
        """The data that were kept with a film, and its bytes as they were posted.

        Raises
        ------
        FilmUnreadable
        """
        try:
            content = self._path(film_id).read_bytes()
        except OSError as error:
            raise FilmUnreadable(f"the film's file cannot be read ({error.strerror})") from error
        head = content[:_HEAD_BYTES]
        if len(head) < _HEAD_BYTES or not head.startswith(MAGIC):
            raise FilmUnreadable("the film's file was changed")
        key = self._keys.find(head[len(MAGIC) : -NONCE_BYTES])
        if key is None:
            raise FilmUnreadable("the key that the film was encrypted with is not among the keys of the quarantine")
        try:
            plain = AESGCM(key.secret).decrypt(
                head[-NONCE_BYTES:], content[_HEAD_BYTES:], _associated(head, film_id, model_version)
            )
        except InvalidTag as error:
            raise FilmUnreadable("the film's file was changed, or is another film's") from error
        end = 4 + int.from_bytes(plain[:4], "big")
        return json.loads(plain[4:end]), plain[end:]

    def remove(self, *film_ids: str) -> None:
        """Delete films; ids without a film are ignored."""
        for film_id in film_ids:
            self._path(film_id).unlink(missing_ok=True)
        self._sync()

    def _path(self, film_id: str) -> Path:
        if not is_film_id(film_id):
            raise ValueError("no id of a film")
        return self._folder / (film_id + _SUFFIX)

    def _aside(self, film_id: str) -> Path:
        return self._folder / ORPHANS / self._path(film_id).name

    def _sync(self, *, orphans: bool = False) -> None:
        """Make the entries of this folder and of the folder of orphans durable."""
        durable.sync_folder(self._folder)
        if orphans:
            durable.sync_folder(self._folder / ORPHANS)


def _films_in(folder: Path) -> dict[str, os.stat_result]:
    """Id -> the system's status of its file; empty if there is no folder."""
    try:
        with os.scandir(folder) as found:
            files = [(entry.name.removesuffix(_SUFFIX), entry) for entry in found if entry.name.endswith(_SUFFIX)]
            return {name: entry.stat() for name, entry in files if is_film_id(name)}
    except FileNotFoundError:
        return {}


def _associated(head: bytes, film_id: str, model_version: str) -> bytes:
    return b"\0".join((head, film_id.encode(), model_version.encode()))
