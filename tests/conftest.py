"""What all tests share: where the real films are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real films and tables (``CXR_SHARED_DATA``, default ``../shared/data`` beside the repository)."""
    root = Path(__file__).resolve().parents[1]
    folder = root / (os.environ.get("CXR_SHARED_DATA") or "../shared/data")
    if not folder.is_dir():
        pytest.skip("the shared films are absent; set CXR_SHARED_DATA to their folder")
    return folder
