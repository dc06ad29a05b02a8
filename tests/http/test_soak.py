"""A thousand requests, twenty at once, in flat memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.films import dicom, jpeg, png
from tests.support.served import Served

REQUESTS = 1000
AT_ONCE = 20
ALLOWED_GROWTH_KIB = 64 * 1024


@pytest.mark.slow
def test_memory_stays_flat(service: Served) -> None:
    films = [(png(), "image/png"), (jpeg(), "image/jpeg"), (dicom(), "application/dicom"), (png()[:999], "image/png")]
    expected = [200, 200, 200, 400]

    def post(index: int) -> int:
        return service.post(*films[index % 4]).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = list(pool.map(post, range(REQUESTS // 4)))  # allocators and thread pools fill up
        before = service.memory_kib()
        rest = list(pool.map(post, range(REQUESTS // 4, REQUESTS)))
        after = service.memory_kib()
    assert first + rest == [expected[index % 4] for index in range(REQUESTS)]
    assert after - before < ALLOWED_GROWTH_KIB, f"{before} KiB became {after} KiB"
