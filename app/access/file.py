"""The file of callers: JSON, with the hash of each key and never the key itself.

    {"callers": [{"name": "pacs", "scopes": ["score"], "key_sha256": "5f...", "expires": "2027-01-31T00:00:00Z",
                  "quota": {"per_minute": 600, "burst": 50}}]}

A key is 32 random bytes, so its SHA-256 without salt or stretching is as far from the key as any hash can be: those
protect what people make up and others can guess, and would cost every request time. Several entries may have one name: the
keys of one caller, of which the older is revoked once the newer is in use.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from .quota import Quota

Scope = Literal["score", "operate", "review", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

#: By which scanners of code and logs know that a key leaked.
KEY_PREFIX: Final = "cxr_"
KEY_BYTES: Final = 32
#: Goes into the record and the answers of reviewers, so it is short and of one line.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
#: The record's name for callers without a key.
RESERVED_NAMES: Final = frozenset({"anonymous"})
_FIELDS: Final = {"name", "scopes", "key_sha256"}


class KeysFileError(Exception):
    """The file of callers cannot be used; the message names the entry, and never a key."""


class KeysFileOpen(KeysFileError):
    """Others may write to the file, who could let themselves in.

    Attributes
    ----------
    callers : tuple of Caller
        Those that are in it.
    """

    def __init__(self, message: str, callers: tuple[Caller, ...]) -> None:
        super().__init__(message)
        self.callers = callers


@dataclass(frozen=True)
class Caller:
    """One key of a caller.

    Attributes
    ----------
    name : str
    scopes : frozenset of str
        Of ``SCOPES``.
    key_sha256 : str
        64 hexadecimal digits.
    expires : datetime or None
        From then on the key is no key.
    quota : Quota or None
        None: the service's own (``CXR_QUOTA_PER_MINUTE``).
    """

    name: str
    scopes: frozenset[Scope]
    key_sha256: str
    expires: datetime | None = None
    quota: Quota | None = None

    def expired(self) -> bool:
        """Whether the key's time is over."""
        return self.expires is not None and datetime.now(UTC) >= self.expires


def hash_of(key: str) -> str:
    """SHA-256 of a key as it is sent, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_callers(path: Path) -> tuple[Caller, ...]:
    """Read the file.

    Raises
    ------
    KeysFileError
        Not there, or not in its form; ``KeysFileOpen`` where others may write to it.
    """
    try:
        is_open = path.stat().st_mode & 0o022
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise KeysFileError(f"{path} is not there; make it and a first key with cxr-gate new-key") from error
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise KeysFileError(f"{path} is not JSON") from error
    if not isinstance(content, dict) or content.keys() != {"callers"} or not isinstance(content["callers"], list):
        raise KeysFileError(f'{path} is not of the form {{"callers": [...]}}')
    callers = tuple(
        _caller(entry, f"{path}: caller {number}") for number, entry in enumerate(content["callers"], start=1)
    )
    if is_open:
        raise KeysFileOpen(f"{path} can be written to by others; run chmod 600 on it", callers)
    return callers


def add_key(
    path: Path,
    name: str,
    scopes: Collection[Scope],
    expires: datetime | None = None,
    quota: Quota | None = None,
) -> str:
    """Add a key to the file, which is made if there is none.

    Returns
    -------
    str
        The key, which is written down nowhere.

    Raises
    ------
    KeysFileError
    """
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    # Read back as an entry of the file would be: what is written can be read.
    made = _caller(_entry(Caller(name, frozenset(scopes), hash_of(key), expires, quota)), "--name or --scope")
    _change(path, lambda callers: (*callers, made), make=True)
    return key


def revoke_keys(path: Path, name: str, *, keep_newest: bool = False) -> int:
    """Take a caller's keys out of the file, all or all but the one that was added last; gives how many.

    Raises
    ------
    KeysFileError
        There is no such caller.
    """
    revoked = 0

    def without(callers: tuple[Caller, ...]) -> tuple[Caller, ...]:
        nonlocal revoked
        its = [caller for caller in callers if caller.name == name]
        if not its:
            raise KeysFileError(f"{path} has no caller of that name")
        kept = its[-1:] if keep_newest else []
        revoked = len(its) - len(kept)
        return tuple(caller for caller in callers if caller.name != name or caller in kept)

    _change(path, without, make=False)
    return revoked


def _caller(entry: Any, where: str) -> Caller:
    if not isinstance(entry, dict) or not entry.keys() >= _FIELDS or entry.keys() - _FIELDS - {"expires", "quota"}:
        raise KeysFileError(
            f"{where} must have name, scopes and key_sha256, may have expires and quota, and nothing else"
        )
    name, scopes, digest, expires = (entry.get(field) for field in ("name", "scopes", "key_sha256", "expires"))
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.lower() in RESERVED_NAMES:
        raise KeysFileError(
            f"{where}: a name is 1 to 64 letters, digits and . _ @ -, begins with a letter or digit, and is not anonymous"
        )
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise KeysFileError(f"{where}: scopes is a list of {', '.join(SCOPES)}, at least one")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise KeysFileError(f"{where}: key_sha256 is 64 hexadecimal digits in lower case, as new-key writes them")
    moment = None if expires is None else _moment(expires, where)
    return Caller(name, frozenset(scopes), digest, moment, _quota(entry["quota"], where) if "quota" in entry else None)


def _quota(content: Any, where: str) -> Quota:
    of_form = isinstance(content, dict) and content.keys() == {"per_minute", "burst"}
    rate: Any = content["per_minute"] if of_form else None
    burst: Any = content["burst"] if of_form else None
    # By their types: true is an int in Python, and JSON has Infinity here.
    if type(rate) not in {int, float} or type(burst) is not int or not (0 < rate < math.inf and 1 <= burst <= 10**6):
        raise KeysFileError(
            f'{where}: quota is of the form {{"per_minute": 600, "burst": 50}}: a number over 0, and a whole one from 1 to '
            "1000000"
        )
    return Quota(float(rate), burst)


def _moment(text: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise KeysFileError(f"{where}: expires is a moment with its zone, such as 2027-01-31T00:00:00Z")
    return moment


def _entry(caller: Caller) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": caller.name,
        "scopes": sorted(caller.scopes),
        "key_sha256": caller.key_sha256,
    }
    if caller.expires is not None:
        entry["expires"] = caller.expires.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if caller.quota is not None:
        entry["quota"] = {"per_minute": caller.quota.per_minute, "burst": caller.quota.burst}
    return entry


def _change(path: Path, change: Callable[[tuple[Caller, ...]], tuple[Caller, ...]], *, make: bool) -> None:
    """Read, change and replace the file, alone among all who do so; a reader sees the old one or the new one."""
    try:
        if make:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.parent):
            callers = change(() if make and not path.exists() else read_callers(path))
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")  # mkstemp's mode is 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(json.dumps({"callers": [_entry(caller) for caller in callers]}, indent=2) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                if path.exists():  # the service may read it as another user than the one who makes keys
                    owner = path.stat()
                    os.chmod(name, owner.st_mode & 0o777)
                    if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                        os.chown(name, owner.st_uid, owner.st_gid)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
    except OSError as error:
        raise KeysFileError(f"{path} cannot be written ({error.strerror})") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder itself, so that no file is left behind; and make what was renamed in it durable."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
        os.fsync(held)
    finally:
        os.close(held)
