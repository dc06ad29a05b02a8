"""Files that a crash of the machine leaves whole, and locks on them."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Mode of a file for its owner alone.
PRIVATE: Final = 0o600
_UNFINISHED: Final = ".part"


def replace(path: Path, *parts: bytes, mode: int = 0o666, keep_owner: bool = False) -> None:
    """Write a file whole: after a crash there is the old one or the new one, and on return the new one is on the disk.

    Parameters
    ----------
    mode : int
        Less the umask.
    keep_owner : bool
        The new file takes the mode and owner of the old one, if there is one.

    Raises
    ------
    OSError
        The old file is unchanged.
    """
    with _beside(path, parts, mode) as unfinished:
        if keep_owner and path.exists():
            was = path.stat()
            unfinished.chmod(was.st_mode & 0o777)
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(unfinished, was.st_uid, was.st_gid)
        unfinished.replace(path)
    sync_folder(path.parent)


def create(path: Path, *parts: bytes, mode: int = 0o666) -> None:
    """Write a new file whole: if several processes do so at once, one makes it.

    Raises
    ------
    OSError
        FileExistsError if the file is there by now.
    """
    with _beside(path, parts, mode) as unfinished:
        os.link(unfinished, path)
    sync_folder(path.parent)


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove the unfinished files of a killed process; no other process may be writing these files."""
    for unfinished in folder.glob(name + _UNFINISHED):
        unfinished.unlink()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, after files there were made, renamed or removed."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def lock(path: Path, *, wait: bool = False) -> int:
    """Lock a file or a folder until the returned descriptor is closed, or the process ends in any way.

    Raises
    ------
    BlockingIOError
        Another process has it, and `wait` is false.
    OSError
    """
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(held)
        raise
    return held


@contextmanager
def _beside(path: Path, parts: tuple[bytes, ...], mode: int) -> Iterator[Path]:
    """Yield a file on the disk with the content, under another name; remove that name afterwards."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)
