"""The callers of a running service, read from their file again when it changes."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

from .file import Caller, KeysFileError, KeysFileOpen, hash_of, read_callers

log = logging.getLogger("cxr_gate")

_State = tuple[int, int, int, int]


class Callers:
    """Finds the caller who has a key; reads the file again when it changes. Used in one thread.

    Raises
    ------
    KeysFileError
        The file cannot be used at the start. Later a broken file is an error in the log, and the last good one holds: a
        slip of an editor must not shut out a hospital. If others may write to the file, only its removals count: a revoked
        key stops working, and an added key does not work yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._look()
        self._callers = read_callers(path)

    def find(self, key: str) -> Caller | None:
        """The caller who has this key; None if nobody has, or if the key has expired."""
        self._follow()
        digest = hash_of(key)
        found = None
        # Compare with every caller, each in constant time: the duration reveals nothing about the file.
        for caller in self._callers:
            if hmac.compare_digest(caller.key_sha256, digest):
                found = caller
        return None if found is None or found.expired() else found

    def _follow(self) -> None:
        state = self._look()
        if state == self._state:
            return
        # Set before the reading: a write meanwhile makes another state, so the next call reads again.
        self._state = state
        try:
            self._callers = read_callers(self._path)
        except KeysFileOpen as error:
            kept = [caller for caller in self._callers if caller in error.callers]
            self._callers = tuple(kept)
            log.error(
                "others may write to the file of callers: only keys that were valid before and are still in it hold",
                extra={"error": str(error), "keys": len(kept)},
            )
        except KeysFileError as error:
            log.error("the file of callers is broken; the last good one holds", extra={"error": str(error)})
        else:
            log.info("the file of callers was read", extra={"keys": len(self._callers)})

    def _look(self) -> _State | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
