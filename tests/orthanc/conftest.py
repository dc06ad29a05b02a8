"""An Orthanc for each test, and one service with the bundle that is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orthanc.pacs import Service
from tests.support.orthanc import Orthanc


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    server = Orthanc.deployed(tmp_path / "orthanc")
    with server.running():
        yield server


@pytest.fixture(scope="session")
def default_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    server = Service.kept_in(tmp_path_factory.mktemp("service"))
    with server.running():
        yield server
