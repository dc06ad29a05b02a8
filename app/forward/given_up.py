"""``cxr-gate given-up`` lists the films that the forwarder gave up on or set aside, and why, and lets them be "
"tried again or forgotten."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .aside import Aside, FilmSetAside, path_beside
from .errors import Misconfigured
from .settings import PREFIX

STATE: Final = PREFIX + "STATE"
COLUMNS: Final = ("last_try", "next_try", "tries", "status", "reason", "instance", "change", "request_id")

DESCRIPTION = """\
List the films that cxr-gate forward has given up on, and those that it has set aside and will try again by itself: one a
line, with tabs between the columns. The forwarder gives up on a film because the service refused it for good (status 400, 403,
413 or 415; the reason is the name of the problem, explained at /problems/REASON of the service), or because it failed for
longer than --give-up-hours of cxr-gate forward. The list holds the newest --keep-given-up of cxr-gate forward. The last line
says how many older ones are no longer listed; the forwarder's log names each when it leaves the list.

'instance' is Orthanc's name of the film (Orthanc shows it at /app/explorer.html#instance?uuid=INSTANCE). It is a hash of
identifiers: treat the list as you treat those. 'change' is the film's name in the forwarder's log. The forwarder may run.
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], environment: Mapping[str, str]) -> None:
    """Add ``given-up`` to the commands; the state file may come from `environment`."""
    parser = commands.add_parser(
        "given-up",
        help="list the films that cxr-gate forward gave up on, with the reason; let it try them again",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    state = environment.get(STATE)
    parser.add_argument(
        "--state",
        type=Path,
        default=state,
        required=state is None,
        help=f"the forwarder's state file (or {STATE}); the list lies beside it",
    )
    parser.add_argument("--reason", metavar="REASON", help="only films that are listed for this reason")
    parser.add_argument("instances", nargs="*", metavar="INSTANCE", help="only these films")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--retry",
        action="store_true",
        help="let the forwarder try them again: at once if it runs, otherwise when it starts",
    )
    action.add_argument("--forget", action="store_true", help="remove films that were given up on from the list")


def run(parsed: argparse.Namespace) -> int:
    """List films, and retry or forget them if asked. The exit code is 0, or 1 if the list cannot be read or "
    "lacks a named film."""
    try:
        with closing(Aside(path_beside(parsed.state), make=False)) as aside:
            films = aside.listed(parsed.instances, parsed.reason)
            dropped = aside.dropped()
            print("\t".join(COLUMNS))
            for film in films:
                print("\t".join(_row(film)))
            if parsed.retry:
                aside.try_again(films, time.time())
            if parsed.forget:
                aside.forget(films)
    except Misconfigured as error:
        print(f"cxr-gate: {error}", file=sys.stderr)
        return 1
    given_up = sum(film.next_try is None for film in films)
    done = "; all will be tried again" if parsed.retry else "; those given up on are forgotten" if parsed.forget else ""
    print(f"{given_up} given up on, {len(films) - given_up} set aside to be tried again{done}", file=sys.stderr)
    if dropped:
        print(f"{dropped} given up on earlier are no longer listed; the forwarder's log has them", file=sys.stderr)
    unknown = len(set(parsed.instances) - {film.instance for film in films})
    if unknown:
        print(f"cxr-gate: {unknown} of the films named are not on the list, or not for this reason", file=sys.stderr)
    return int(unknown > 0)


def _row(film: FilmSetAside) -> tuple[str, ...]:
    next_try = "given up" if film.next_try is None else _time(film.next_try)
    answer = (str(film.tries), str(film.status) if film.status else "none", film.reason)
    return (_time(film.last), next_try, *answer, film.instance, str(film.change), film.request_id)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
