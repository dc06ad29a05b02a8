"""docs/query-detection.md has the figures of its report, and the service the radius and the limit that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.access.sequences import RADIUS
from app.settings import Settings
from benchmarks.queries import choosing, page

ROOT = Path(__file__).resolve().parents[2]
REPORT = json.loads((ROOT / "reports" / "queries" / "queries.json").read_text())
TEXT = (ROOT / "docs" / "query-detection.md").read_text()


def test_the_tables_are_the_reports() -> None:
    assert page.filled(TEXT, REPORT) == TEXT
    with pytest.raises(ValueError, match="no place for choice"):
        page.filled(TEXT.replace("<!-- end of choice -->", ""), REPORT)


def test_what_is_served_is_what_was_measured() -> None:
    (found,) = REPORT["radius"]
    assert found["radius"] == found["served_radius"] == RADIUS
    settings = Settings()
    assert (settings.query_near_duplicates, settings.query_films) == (choosing.LIMIT, choosing.MEMORY)
    told = dict(re.findall(r"^\| `CXR_(\w+)` \| `(\S+)` \|", TEXT, re.MULTILINE))
    assert len(told) == 4
    assert told == {name: str(getattr(settings, name.lower())) for name in told}
