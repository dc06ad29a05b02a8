"""Reports on disk between their making and their storing, so that a crash loses none.

A report's file is named by its UID, which is the same for a repeated request, so the report waits only once. The
folder holds patient data; it is made for its owner alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from app import durable

_SUFFIX: Final = ".dcm"
_MOST_OTHERS: Final = 1_000


class Outbox:
    """Reports that wait in a folder. Below it, ``refused`` has those that the server will never take, and ``others`` has
    instances that it has in place of ours.

    Parameters
    ----------
    folder : Path
        Made if it is not there. One service writes to one folder.

    Raises
    ------
    OSError
        The folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refused = folder / "refused"
        self._others = folder / "others"
        self._refused.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._others.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        durable.remove_unfinished(folder)

    def put(self, uid: str, report: bytes) -> None:
        """Keep a report; when this returns it survives a crash of the machine.

        Raises
        ------
        OSError
        """
        durable.replace(self._folder / (uid + _SUFFIX), report, mode=durable.PRIVATE)

    def waiting(self) -> list[tuple[str, float]]:
        """UIDs of the waiting reports, oldest first, and the seconds that each has waited, by a clock that may have been set."""
        now = time.time()
        found = [(path.stat().st_mtime, path.stem) for path in self._folder.glob("*" + _SUFFIX)]
        return [(uid, max(0.0, now - since)) for since, uid in sorted(found)]

    def read(self, uid: str) -> bytes:
        """Read a waiting report.

        Raises
        ------
        OSError
            FileNotFoundError if it no longer waits.
        """
        return (self._folder / (uid + _SUFFIX)).read_bytes()

    def done(self, uid: str) -> None:
        """Remove a report that the server has."""
        (self._folder / (uid + _SUFFIX)).unlink(missing_ok=True)
        durable.sync_folder(self._folder)

    def refuse(self, uid: str) -> None:
        """Keep a report that the server will never take, for a person to look at."""
        (self._folder / (uid + _SUFFIX)).replace(self._refused / (uid + _SUFFIX))
        durable.sync_folder(self._folder)

    def keep_other(self, uid: str, number: int, other: bytes) -> None:
        """Keep an instance that the server has in place of one of our reports, for a person to look at; a thousand at most."""
        if other and sum(1 for _ in self._others.iterdir()) < _MOST_OTHERS:
            path = self._others / f"{uid}.{number}{_SUFFIX}"
            with open(path, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(other)
