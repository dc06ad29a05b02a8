"""Options that are declared once: the command line and the dataclass say the same."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from offline.cli import COMMANDS, _parser
from offline.options import add_options, option, options_of, share


@dataclass(frozen=True)
class Boiling:
    rate: float
    minutes: int = option(3, "of boiling")
    salt: bool = option(False, "salt the water")
    pot: str = option("small", "which", choices=("small", "large"))
    most: float | None = option(None, "at most (default: as much as there is)", flag="--at-most", kind=float)
    full: float = option(0.5, "share of the pot", kind=share)
    lid: int = 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_options(made, Boiling)
    return made


def test_without_options_the_dataclass_is_as_declared() -> None:
    assert options_of(Boiling, parser().parse_args([]), rate=1.5) == Boiling(1.5)


def test_every_option_reaches_its_field() -> None:
    typed = "--minutes 7 --salt --pot large --at-most 2 --full .25".split()
    assert options_of(Boiling, parser().parse_args(typed), rate=2.0, lid=0) == Boiling(
        2.0, 7, True, "large", 2.0, 0.25, 0
    )


def test_the_help_tells_the_default() -> None:
    told = " ".join(parser().format_help().split())
    assert "of boiling (default: 3)" in told
    assert "at most (default: as much as there is)" in told
    assert "--lid" not in told
    assert "--rate" not in told


@pytest.mark.parametrize("typed", ["--pot huge", "--minutes 1.5", "--full 0", "--full 1", "--lid 3"])
def test_what_cannot_be_is_refused(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(typed.split())
    assert typed.split()[0] in capsys.readouterr().err


@pytest.mark.parametrize("command", [add.__name__.removeprefix("add_").replace("_", "-") for add in COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: cxr-offline {command}" in capsys.readouterr().out


@pytest.mark.parametrize("former", ["relearn", "average", "watch"])
def test_former_names_are_gone(former: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parser().parse_args([former])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
