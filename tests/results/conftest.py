"""One Orthanc for the tests of delivery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.orthanc import Orthanc


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    server = Orthanc.archive(tmp_path_factory.mktemp("orthanc"))
    with server.running():
        yield server
