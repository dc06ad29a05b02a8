"""The file of callers: JSON, with the hash of each key and never the key itself.

    {"callers": [{"name": "pacs", "scopes": ["score"], "key_sha256": "5f...", "expires": "2027-01-31T00:00:00Z",
                  "quota": {"per_minute": 600, "burst": 50}}]}

A key is 32 random bytes, so nobody can guess it from its plain SHA-256. Salt and stretching protect passwords, which people
make up and others can guess; here they would only cost every request time. Several entries may have one name: they are the
keys of one caller. The older key is revoked once the newer is in use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app import durable

from .quota import Quota

Scope = Literal["score", "operate", "review", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

#: Scanners of code and logs recognise a leaked key by this.
KEY_PREFIX: Final = "cxr_"
KEY_BYTES: Final = 32
#: A name goes into the record and the answers of reviewers, so it is short and has one line.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
#: The record's name for callers without a key.
RESERVED_NAMES: Final = frozenset({"anonymous"})


class KeysFileError(Exception):
    """The file of callers cannot be used; the message names the entry, and never a key."""


class KeysFileOpen(KeysFileError):
    """Others may write to the file, and could let themselves in.

    Attributes
    ----------
    callers : tuple of Caller
        The callers in the file.
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
        Some of ``SCOPES``.
    key_sha256 : str
        64 hexadecimal digits.
    expires : datetime or None
        From then on the key is not valid.
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
        The file is missing or malformed; ``KeysFileOpen`` if others may write to it.
    """
    try:
        is_open = path.stat().st_mode & 0o022
        content = _File.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise KeysFileError(f"{path} is not there; make it and a first key with cxr-gate new-key") from error
    except OSError as error:
        raise KeysFileError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise KeysFileError(f"{path}{_file_fault(error)}") from None
    callers = tuple(entry.caller() for entry in content.callers)
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
    """Add a key to the file; makes the file if there is none.

    Returns
    -------
    str
        The key. It is stored nowhere.

    Raises
    ------
    KeysFileError
    """
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    entry = _entry(Caller(name, frozenset(scopes), hash_of(key), expires, quota))
    try:  # checked as an entry of the file, so that the file can be read afterwards
        made = _Entry.model_validate(entry).caller()
    except ValidationError as error:
        raise KeysFileError(f"--name or --scope{_entry_fault(error.errors()[0]['loc'], '')}") from None
    _change(path, lambda callers: (*callers, made), make=True)
    return key


def revoke_keys(path: Path, name: str, *, keep_newest: bool = False) -> int:
    """Remove a caller's keys from the file, all or all but the one that was added last; returns how many.

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


def _name(text: str) -> str:
    if not NAME.fullmatch(text) or text.lower() in RESERVED_NAMES:
        raise ValueError
    return text


def _moment(text: object) -> datetime | None:
    moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    if text is not None and (moment is None or moment.tzinfo is None):
        raise ValueError
    return moment


class _StrictModel(BaseModel):
    """Takes only these fields and JSON's own types: true is not a number, and a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Quota(_StrictModel):
    per_minute: float = Field(gt=0, allow_inf_nan=False)
    burst: int = Field(ge=1, le=10**6)


class _Entry(_StrictModel):
    """Each field's description says what the field must be; it is the error message for any other value."""

    name: Annotated[str, AfterValidator(_name)] = Field(
        description="a name is 1 to 64 letters, digits and . _ @ -, begins with a letter or digit, and is not anonymous"
    )
    scopes: list[Scope] = Field(min_length=1, description=f"scopes is a list of {', '.join(SCOPES)}, at least one")
    key_sha256: str = Field(
        pattern="^[0-9a-f]{64}$",
        description="key_sha256 is 64 hexadecimal digits in lower case, as new-key writes them",
    )
    expires: Annotated[datetime | None, BeforeValidator(_moment)] = Field(
        default=None, description="expires is a moment with its zone, such as 2027-01-31T00:00:00Z"
    )
    quota: _Quota = Field(
        default=None,  # type: ignore[assignment]  # null is refused: it could mean no limit, or the service's quota
        description='quota is of the form {"per_minute": 600, "burst": 50}: a number over 0, and a whole one from 1 to 1000000',
    )

    def caller(self) -> Caller:
        """The caller of this entry."""
        quota = Quota(self.quota.per_minute, self.quota.burst) if "quota" in self.model_fields_set else None
        return Caller(self.name, frozenset(self.scopes), self.key_sha256, self.expires, quota)


class _File(_StrictModel):
    callers: list[_Entry]


def _file_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f" is not JSON: {first['ctx']['error']}"
    if first["loc"][:1] != ("callers",) or len(first["loc"]) == 1:
        return ' is not of the form {"callers": [...]}'
    _, index, *place = first["loc"]
    return f": caller {int(index) + 1}{_entry_fault(place, first['type'])}"


def _entry_fault(place: Sequence[int | str], kind: str) -> str:
    """The fault of an entry: which field, and what it must be. The message does not quote the wrong value."""
    name = str(place[0]) if place else ""
    if name in _Entry.model_fields and not (kind == "missing" and len(place) == 1):
        return f": {_Entry.model_fields[name].description}"
    which = f"; it lacks {name}" if kind == "missing" else f"; {name!r} is unknown" if name else ""
    return f" must have name, scopes and key_sha256, may have expires and quota, and nothing else{which}"


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
    """Read, change and replace the file, one writer at a time; a reader sees the old file or the new one."""
    try:
        if make:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = durable.lock(path.parent, wait=True)  # the folder itself, so that no file is left behind
        try:
            callers = change(() if make and not path.exists() else read_callers(path))
            content = json.dumps({"callers": [_entry(caller) for caller in callers]}, indent=2) + "\n"
            # The service may read the file as another user than the one who makes keys.
            durable.replace(path, content.encode(), mode=durable.PRIVATE, keep_owner=True)
        finally:
            os.close(held)
    except OSError as error:
        raise KeysFileError(f"{path} cannot be written ({error.strerror})") from error
