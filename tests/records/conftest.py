"""Records in each database that is supported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.records import Record, open_record
from tests.records.making import postgresql


@pytest.fixture(scope="session")
def new_postgresql() -> Iterator[Callable[[], str]]:
    """Empties the database of a real server; gives its URL."""
    with postgresql() as database:
        yield database


@pytest.fixture(params=["file", "memory", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        made: Callable[[], str] = request.getfixturevalue("new_postgresql")
        return made()
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/state/record.sqlite"


@pytest.fixture
def record(url: str, tmp_path: Path) -> Iterator[Record]:
    opened = open_record(url, tmp_path / "state" / "record.key")
    yield opened
    opened.close()
