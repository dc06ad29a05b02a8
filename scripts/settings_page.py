"""docs/settings.md and .env.example, from the settings themselves: ``python -m scripts.settings_page`` writes both."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from app.configuration import Group, Setting, declared, shown
from app.forward.settings import PREFIX as FORWARD_PREFIX
from app.forward.settings import ForwardSettings
from app.settings import PREFIX, Settings

COMMAND: Final = "python -m scripts.settings_page"

_PAGE: Final = f"""\
# Settings

<!-- Written by {COMMAND}. Change the help in app/settings.py and app/forward/settings.py instead. -->

Settings are environment variables. The service reads them once, when it starts. It does not start with an unknown `CXR_` name
or with a value that a setting does not take; the message says which, and what it takes. `cxr-gate --help` and
`cxr-gate forward --help` show the same lists. [.env.example](../.env.example) has every setting with its default, to copy.

A `-` means that a setting is empty by default.
"""
_HEADING: Final = "| setting | default | takes | meaning |\n|---|---|---|---|"
_OTHERS: Final = """\
## Names of other programs

`FORWARDED_ALLOW_IPS` lists the proxies whose `X-Forwarded-For` the service believes ([engine.md](engine.md#who-may-wait)).
`OMP_NUM_THREADS` sets the threads on the CPU if `CXR_INFERENCE_THREADS` is 0. The `OTEL_` names say where traces go
([monitoring.md](monitoring.md#traces)). `CXR_SHARED_DATA` is for tests: it says where the shared films are.
"""
_EXAMPLE: Final = f"""\
# Every setting, with its default. Written by {COMMAND}.
#
# Copy this file, remove the # before what you change, and give it to the process:
#   set -a; . ./.env; set +a; cxr-gate serve
# docs/settings.md explains the settings. Whoever reads the copy reads its secrets: chmod 600.
"""


def page() -> str:
    """docs/settings.md."""
    parts = [_PAGE]
    for group, settings in _groups():
        rows = "\n".join(_row(*one) for one in settings)
        parts.append(f"## {group.title}\n\nMore: [{group.page}]({group.page}).\n\n{_HEADING}\n{rows}\n")
    return "\n".join([*parts, _OTHERS])


def example() -> str:
    """.env.example."""
    lines = [_EXAMPLE]
    for group, settings in _groups():
        lines.append(f"# {group.title} (docs/{group.page})\n")
        for variable, setting, default in settings:
            lines += [*wrap(setting.help, 110, initial_indent="# ", subsequent_indent="# "), f"#{variable}={default}\n"]
    return "\n".join(lines)


def _groups() -> Iterator[tuple[Group, list[tuple[str, Setting, str]]]]:
    kinds: tuple[tuple[Any, str], ...] = ((Settings, PREFIX), (ForwardSettings, FORWARD_PREFIX))
    every = [
        (variable, setting, "" if setting.required else shown(one.default))
        for kind, prefix in kinds
        for variable, setting, one in declared(kind, prefix)
    ]
    for group, settings in groupby(every, lambda one: one[1].group):
        yield group, list(settings)


def _row(variable: str, setting: Setting, default: str) -> str:
    given = "required" if setting.required else f"`{default}`" if default else "-"
    value = "secret" if setting.secret else setting.allowed
    return f"| `{variable}` | {given} | {value} | {setting.help.replace('*', chr(92) + '*')} |"


def main() -> None:
    """Write both files."""
    root = Path(__file__).parents[1]
    (root / "docs" / "settings.md").write_text(page())
    (root / ".env.example").write_text(example())


if __name__ == "__main__":
    main()
