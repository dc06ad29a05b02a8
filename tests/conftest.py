"""What all tests share: where the real films are, and that a process of many test files does not keep what they freed."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Of a worker: torch and all the tests alone take some 700 MB.
MUCH_MEMORY_BYTES = 1_000_000_000


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real films and tables (``CXR_SHARED_DATA``, default ``../shared/data`` beside the repository)."""
    root = Path(__file__).resolve().parents[1]
    folder = root / (os.environ.get("CXR_SHARED_DATA") or "../shared/data")
    if not folder.is_dir():
        pytest.skip("the shared films are absent; set CXR_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="module", autouse=True)
def freed_memory_is_given_back() -> Iterator[None]:
    """A worker runs some hundred files. Attacks on networks free gigabytes, which glibc else keeps until the worker ends."""
    yield
    if _memory_bytes() > MUCH_MEMORY_BYTES:  # each time takes a quarter of a second
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)


def _memory_bytes() -> int:
    """What of this process lies in memory, but for files; most where it cannot be told."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return sys.maxsize
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
