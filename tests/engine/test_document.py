"""docs/engine.md and ``cxr-gate --help`` name what there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.cli import main
from app.metrics import Metrics
from app.settings import PREFIX, Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text()


def test_the_defaults_are_those_of_the_settings() -> None:
    told = dict(re.findall(r"^\| `CXR_(\w+)` \| (\S+) \|", TEXT, re.MULTILINE))
    assert len(told) == 15
    assert told == {name: str(getattr(Settings(), name.lower())) for name in told}


def test_every_metric_exists() -> None:
    existing = {family.name for family in Metrics().registry.collect()}
    told = {name.removesuffix("_total").removesuffix("_info") for name in re.findall(r"cxr_\w+", TEXT)}
    assert len(told) >= 3
    assert told <= existing


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = set(re.findall(PREFIX + r"\w+", capsys.readouterr().out))
    assert listed == {PREFIX + field.name.upper() for field in fields(Settings)}
