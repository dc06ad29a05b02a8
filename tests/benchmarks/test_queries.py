"""docs/query-detection.md has the figures of its report, and the service the radius and the limit that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.access.sequences import RADIUS
from app.settings import Settings
from benchmarks.queries import choosing, page
from offline.generated_tables import filled

ROOT = Path(__file__).resolve().parents[2]
REPORT = json.loads((ROOT / "reports" / "queries" / "queries.json").read_text())
TEXT = (ROOT / "docs" / "query-detection.md").read_text()


def test_the_tables_are_the_reports() -> None:
    assert filled(TEXT, page.tables(REPORT)) == TEXT
    with pytest.raises(ValueError, match="0 places for the table choice"):
        filled(TEXT.replace("<!-- /choice -->", ""), page.tables(REPORT))


def test_what_is_served_is_what_was_measured() -> None:
    (found,) = REPORT["radius"]
    assert found["radius"] == found["served_radius"] == RADIUS
    settings = Settings()
    assert (settings.query_near_duplicates, settings.query_films) == (choosing.LIMIT, choosing.MEMORY)
    assert re.findall(r"`CXR_QUERY_SEQUENCES` is `(\w+)` by default", TEXT) == [settings.query_sequences]
