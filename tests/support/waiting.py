"""Waiting until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(
    holds: Callable[[], object], seconds: float = 60.0, what: Callable[[], object] = lambda: "", pause: float = 0.02
) -> None:
    """Ask until it holds, with a pause in seconds between; `what` tells how things stand when the time is over."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what()}"
        time.sleep(pause)
