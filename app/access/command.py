"""``cxr-gate new-key`` and ``cxr-gate revoke-key``: their options, and what they do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from .file import SCOPES, KeysFileError, add_key, revoke_keys
from .quota import Quota

COMMANDS: Final = ("new-key", "revoke-key")
SETTING: Final = "CXR_KEYS_FILE"

_NEW: Final = f"""\
Make a key for a caller, add its hash to the file of callers, and print the key: once, since it is kept nowhere.
The service (started with {SETTING}=FILE) knows the key from its next request on; no restart is needed.

  score     judge films: /v1/score, /v1/explain, /dicomweb/studies, and the results that were released to the caller
  review    look at quarantined films, release or confirm them
  operate   see and choose what is served; /metrics too
  metrics   /metrics alone, for Prometheus
"""
_NEW_EXAMPLES: Final = """\
examples:
  cxr-gate new-key --name pacs --scope score
  cxr-gate new-key --name dr.example --scope review --scope score --days 365
  cxr-gate new-key --name research --scope score --per-minute 60 --burst 20
  curl -H "Authorization: Bearer $KEY" -H 'Content-Type: application/dicom' --data-binary @FILM http://127.0.0.1:8000/v1/score

to change a caller's key without a gap:
  cxr-gate new-key --name pacs --scope score        both keys work from now on
  (give the new one to the caller)
  cxr-gate revoke-key --name pacs --keep-newest     the old key stops working
"""
_REVOKE: Final = f"""\
Take a caller's keys out of the file of callers. The service ({SETTING}=FILE) refuses them from its next request on.
"""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], environment: Mapping[str, str]) -> None:
    """Add both commands; the default of ``--keys-file`` comes from `environment`."""
    keys = argparse.ArgumentParser(add_help=False)
    setting = environment.get(SETTING) or None
    keys.add_argument(
        "--keys-file",
        type=Path,
        default=setting and Path(setting),
        required=setting is None,
        help=f"the file of callers (default: {SETTING})",
    )
    new = commands.add_parser(
        "new-key",
        parents=[keys],
        help="make a key for a caller",
        description=_NEW,
        epilog=_NEW_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    new.add_argument("--name", required=True, help="who calls: goes into the record with each decision")
    new.add_argument(
        "--scope", required=True, action="append", choices=SCOPES, help="scope of the key; may be repeated"
    )
    new.add_argument("--days", type=_DAYS, help="days for which the key is valid (default: until it is revoked)")
    new.add_argument(
        "--per-minute",
        type=_PER_MINUTE,
        help="requests a minute that the caller may make (default: as CXR_QUOTA_PER_MINUTE says)",
    )
    new.add_argument("--burst", type=_BURST, help="and at once, after a pause (needs --per-minute; default: 10)")
    revoke = commands.add_parser("revoke-key", parents=[keys], help="take a caller's keys back", description=_REVOKE)
    revoke.add_argument("--name", required=True, help="whose keys")
    revoke.add_argument("--keep-newest", action="store_true", help="all but the newest one")


def run(parsed: argparse.Namespace) -> int:
    """Make or revoke; the exit code is 0, 1 if that was refused, or 2 for ``--burst`` without ``--per-minute``."""
    if parsed.command == "new-key" and parsed.burst and not parsed.per_minute:
        print("cxr-gate: --burst needs --per-minute", file=sys.stderr)
        return 2
    try:
        if parsed.command == "revoke-key":
            revoked = revoke_keys(parsed.keys_file, parsed.name, keep_newest=parsed.keep_newest)
            print(f"{parsed.name}: {revoked} key{'s' * (revoked != 1)} revoked")
            return 0
        expires = datetime.now(UTC) + timedelta(days=parsed.days) if parsed.days else None
        quota = Quota(parsed.per_minute, parsed.burst or 10) if parsed.per_minute else None
        key = add_key(parsed.keys_file, parsed.name, parsed.scope, expires, quota)
    except KeysFileError as error:
        print(f"cxr-gate: {error}", file=sys.stderr)
        return 1
    print(f"{parsed.name}: the key is shown this once; send it as 'Authorization: Bearer KEY'", file=sys.stderr)
    print(key)
    return 0


def _number(kind: type[int] | type[float], most: float, must: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(must)
        return value

    return read


_DAYS: Final = _number(int, 36_500, "days are a whole number from 1 to 36500")
_PER_MINUTE: Final = _number(float, sys.float_info.max, "requests a minute are a number over 0")
_BURST: Final = _number(int, 10**6, "a burst is a whole number from 1 to 1000000")
