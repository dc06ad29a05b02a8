"""Command-line options that commands share. An option is declared once, in the module that uses it.

A dataclass of options declares its fields with ``option``. ``add_options`` adds them to a command line, and ``options_of``
builds the dataclass from the parsed command line.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
T = TypeVar("T")

#: The bundle that is served if no other is named.
DEFAULT_BUNDLE: Final = Path("artifacts/default")
_DECLARED: Final = "option"


@dataclass(frozen=True)
class _Declared:
    """How a field is typed on the command line: its help, and its flag, type and choices if they are not the usual ones."""

    help: str
    flag: str | None
    kind: Callable[[str], object] | None
    choices: Sequence[str] | None


def option(
    default: T,
    help: str,
    *,
    flag: str | None = None,
    kind: Callable[[str], object] | None = None,
    choices: Sequence[str] | None = None,
) -> T:
    """A dataclass field that can also be set on the command line.

    Parameters
    ----------
    help : str
        The default is appended, unless the text already contains ``(default``.
    flag : str or None
        None: the field's name, with hyphens.
    kind : callable or None
        Text -> value, or ``argparse.ArgumentTypeError``. None: the type of the default. A default of False makes a switch.
    """
    return field(default=default, metadata={_DECLARED: _Declared(help, flag, kind, choices)})


def add_options(parser: argparse._ActionsContainer, kind: type[Any]) -> None:
    """Add the fields that ``option`` declares in a dataclass to a command line, in their order."""
    for one in fields(kind):
        declared: _Declared | None = one.metadata.get(_DECLARED)
        if declared is None:
            continue
        flag = declared.flag or f"--{one.name.replace('_', '-')}"
        if one.default is False:
            parser.add_argument(flag, dest=one.name, action="store_true", help=declared.help)
            continue
        told = declared.help if "(default" in declared.help else f"{declared.help} (default: %(default)s)"
        parser.add_argument(
            flag,
            dest=one.name,
            type=declared.kind or type(one.default),
            choices=declared.choices,
            default=one.default,
            help=told,
        )


def options_of(kind: type[T], parsed: argparse.Namespace, **others: object) -> T:
    """Build the dataclass from the parsed command line; `others` are the fields that no option declares."""
    asked = {one.name: getattr(parsed, one.name) for one in fields(kind) if _DECLARED in one.metadata}  # type: ignore[arg-type]
    return kind(**asked, **others)


def share(text: str) -> float:
    """A number over 0 and under 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not over 0 and under 1")
    return value


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, and ``--workers``: the number of processes that decode films."""
    parser.add_argument("--device", default="auto", help="auto (the GPU if there is one), cpu or cuda")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode (default: %(default)s)")


def add_bundle(parser: argparse._ActionsContainer, help: str = "what is served") -> None:
    """Add ``--bundle`` to a parser, or to a group of a parser."""
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help=f"{help} (default: %(default)s)")


def command_line(parsed: argparse.Namespace) -> str:
    """The command as it was typed, for the provenance of its output."""
    return shlex.join(["cxr-offline", *parsed.arguments])
