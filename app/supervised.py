"""Threads that work for as long as the service lives: a thread that fails is counted, and begins again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from app.metrics import Metrics

log = logging.getLogger("cxr_gate")

#: Wait before a failed thread begins again. It doubles after each failure, up to the longest.
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0


class SupervisedThread:
    """Runs `work` until it returns; after an error it runs again. ``start`` once, ``join`` to wait for its end.

    Parameters
    ----------
    name : str
        Name of the thread, in the log and in the metrics ``cxr_thread_up`` and ``cxr_thread_failures_total``.
    work : callable
        Returns when it has to end. It can be called again after an error.
    stopping : threading.Event
        Once it is set, no run follows an error.
    metrics : Metrics
    """

    def __init__(self, name: str, work: Callable[[], None], stopping: threading.Event, metrics: Metrics) -> None:
        self._name = name
        self._work = work
        self._stopping = stopping
        self._failures = metrics.thread_failures.labels(name)
        self._up = metrics.thread_up.labels(name)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._up.set_function(self._thread.is_alive)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                return self._work()
            except Exception:
                self._failures.inc()
                log.exception("a thread failed and begins again", extra={"which": self._name})
            if self._stopping.wait(wait):
                return
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
