"""How a setting is declared: the field of a dataclass says what it means and what it takes.

``app.settings`` declares those of the service, ``app.forward.settings`` those of the forwarder. ``--help``, docs/settings.md,
.env.example and the checks of values are made from the declarations. This module needs nothing of the rest of the app.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, TypeVar

_KEY: Final = "setting"
Value = TypeVar("Value")


class SettingsError(Exception):
    """A setting that cannot be used; the message names it."""


@dataclass(frozen=True)
class Setting:
    """The metadata of one setting."""

    group: Group
    help: str  # what it does, with its unit if it has one
    #: From the text to the value. Raises ``ValueError`` with what the value must be, or ``SettingsError`` with a whole sentence.
    parse: Callable[[str], object]
    allowed: str = ""  # the values that it takes, for people; empty where the help says it
    secret: bool = False  # never shown, and no option of a command line
    address: bool = False  # may hold a password, so messages do not repeat it
    required: bool = False  # has no default

    def value(self, name: str, text: str) -> object:
        """The value of a text, or ``SettingsError``; `name` is the setting's name for the person who set it."""
        try:
            return self.parse(text)
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from error
        except ValueError as error:
            shown = name if self.secret or self.address else f"{name}={text!r}"
            raise SettingsError(f"{shown} {error}") from None


@dataclass(frozen=True)
class Group:
    """Settings that are looked up together."""

    title: str
    page: str  # under docs/, which explains them

    def setting(
        self,
        default: Value,
        help: str,
        *,
        zero: bool = False,
        one_of: tuple[str, ...] = (),
        parse: Callable[[str], object] | None = None,
        secret: bool = False,
        address: bool = False,
        required: bool = False,
    ) -> Value:
        """Declare a field. A number is over 0, unless `zero` allows 0 too; `one_of` lists the words that a text may be."""
        read: Callable[[str], object] = partial(_word, one_of) if one_of else str
        allowed = ", ".join(one_of)
        if isinstance(default, bool):
            read, allowed = _truth, "true or false"
        elif isinstance(default, int | float):
            read, allowed = partial(_number, type(default), zero), "0 or more" if zero else "over 0"
        elif isinstance(default, Path):
            read = Path
        declared = Setting(self, help, parse or read, "" if parse else allowed, secret, address, required)
        made: Value = field(default=default, repr=not secret, metadata={_KEY: declared})
        return made


def declared(kind: Any, prefix: str) -> Iterator[tuple[str, Setting, Field[Any]]]:
    """Each setting of a dataclass, in its order: its variable, its metadata, and its field."""
    for one in fields(kind):
        yield prefix + one.name.upper(), one.metadata[_KEY], one


def values(
    kind: Any, prefix: str, environment: Mapping[str, str], *, except_for: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values that the environment sets, by the fields' names.

    Raises
    ------
    SettingsError
        A value of the wrong form, or an unknown name that begins with `prefix`: a typo would otherwise be silent. Names that
        begin with one of `except_for` belong to other programs.
    """
    known = {variable: (setting, one.name) for variable, setting, one in declared(kind, prefix)}
    found = {}
    for variable, text in environment.items():
        if not variable.startswith(prefix) or variable.startswith(except_for):
            continue
        if variable not in known:
            raise SettingsError(f"{unknown(variable, known)} (cxr-gate --help lists all)")
        setting, name = known[variable]
        found[name] = setting.value(variable, text)
    return found


def unknown(variable: str, known: Mapping[str, object]) -> str:
    """A message that there is no such setting, and which one the operator may mean."""
    nearest = get_close_matches(variable.upper(), known, 1)
    return f"unknown setting {variable}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def listed(kind: Any, prefix: str) -> str:
    """All settings for a terminal, a group at a time."""
    lines: list[str] = []
    group = None
    for variable, setting, one in declared(kind, prefix):
        if setting.group != group:
            group = setting.group
            lines.append(f"{chr(10) if lines else ''}{group.title} (docs/{group.page})")
        told = f"{setting.help}; {setting.allowed}" if setting.allowed else setting.help
        lines += [
            f"  {variable}={shown(one.default)}",
            *wrap(told, 96, initial_indent="      ", subsequent_indent="      "),
        ]
    return "\n".join(lines)


def shown(value: object) -> str:
    """A value in the form in which the environment gives it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset | tuple):
        return ",".join(sorted(map(str, value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _truth(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def _number(kind: type[int] | type[float], zero: bool, text: str) -> float:
    try:
        number = kind(text)
    except ValueError:
        raise ValueError(f"is not a {'whole ' * (kind is int)}number") from None
    if not (number > 0 or (zero and number == 0)):
        raise ValueError("must be 0 or more" if zero else "must be over 0")
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number


def _word(words: tuple[str, ...], text: str) -> str:
    if text not in words:
        raise ValueError(f"must be {', '.join(words)}")
    return text
