"""docs/engine.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from app.metrics import Metrics

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text()


def test_every_metric_exists() -> None:
    section = TEXT[TEXT.index("## Measures") :]
    existing = {family.name for family in Metrics().registry.collect()}
    told = {name.removesuffix("_total") for name in re.findall(r"cxr_\w+", section)}
    assert len(told) == 15
    assert told <= existing
