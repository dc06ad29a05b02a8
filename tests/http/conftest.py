"""Servers that several files share; each is started once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.bundles import ACCEPT_EVERYTHING, REJECT_EVERYTHING, write_random_bundle
from tests.support.served import Served, serve

Start = Callable[..., AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def accepting_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("accepting") / "bundle", ACCEPT_EVERYTHING)


@pytest.fixture(scope="session")
def rejecting_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("rejecting") / "bundle", REJECT_EVERYTHING)


@pytest.fixture(scope="session")
def start(accepting_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a server of one's own: ``with start(CXR_MAX_WAITING="1") as service``."""

    def started(bundle: Path = accepting_bundle, **settings: str) -> AbstractContextManager[Served]:
        return serve(bundle, tmp_path_factory.mktemp("log") / "stderr.log", **settings)

    return started


@pytest.fixture(scope="session")
def service(start: Start) -> Iterator[Served]:
    """Accepts every film that can be decoded."""
    with start() as served:
        yield served


@pytest.fixture(scope="session")
def rejecting(start: Start, rejecting_bundle: Path) -> Iterator[Served]:
    """Rejects every film."""
    with start(rejecting_bundle) as served:
        yield served
