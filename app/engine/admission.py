"""Who may wait: requests are refused before their bodies are read, if nothing more can be held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.metrics import Metrics
from app.settings import Settings

from .errors import Overloaded


class Admission:
    """Counts the places that are taken; used in the event loop's thread alone."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether another place would be refused now."""
        return self._waiting >= self._settings.max_waiting

    def check(self) -> None:
        """Refuse if nothing more can wait.

        Raises
        ------
        Overloaded
        """
        if self.full:
            raise Overloaded(f"{self._waiting} requests wait already; try again shortly")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises
        ------
        Overloaded
        """
        self.check()
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            yield
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)
