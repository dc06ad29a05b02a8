"""docs/engine.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from app.metrics import Metrics

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text()


def test_every_metric_exists() -> None:
    existing = {family.name for family in Metrics().registry.collect()}
    told = {name.removesuffix("_total").removesuffix("_info") for name in re.findall(r"cxr_\w+", TEXT)}
    assert len(told) >= 3
    assert told <= existing
