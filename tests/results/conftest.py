"""One Orthanc for the tests of delivery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.results.orthanc import Orthanc, running_orthanc


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server
