"""Decoded films that wait for a device, and the batches that are made of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.metrics import Metrics
from app.pipeline import Verdict
from app.pipeline.heatmap import Heatmap
from app.settings import Settings
from app.tracing import Trace, here

from .errors import DeadlinePassed
from .shadow import Shadow, ShadowFilm
from .version import Version


@dataclass(frozen=True)
class Judged:
    """A verdict and its version; with a heatmap if the request named a finding and the film was accepted."""

    version: Version
    verdict: Verdict
    heatmap: Heatmap | None = None


@dataclass(eq=False)
class Item:
    """A film that waits for a device; the times are of ``time.monotonic()``."""

    version: Version
    tensor: Tensor
    admitted: float
    expires: float
    explain: int | None = None  # row of a finding
    result: Future[Judged | NDArray[np.float64]] = field(default_factory=Future)  # probabilities: of a released film
    compared: bool = True  # whether the version in shadow judges it too
    released: bool = False  # by an authorised person: it gets probabilities whatever the gate says
    queued: float = field(default_factory=time.monotonic)
    trace: Trace | None = field(default_factory=here)

    def goes_with(self, other: Item) -> bool:
        """Whether both may be in one batch."""
        return self.version is other.version and not (self.released or other.released)


class ReadyQueue:
    """Serves all devices; first come, first served.

    It holds no more items than there are places (``CXR_MAX_WAITING``), because a request that leaves withdraws its item.
    The films of a version in shadow are no items: a device takes one when there is no item.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._wait_seconds = settings.batch_wait_ms / 1000
        self._metrics = metrics
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._shadow: Shadow | None = None
        self.closed = threading.Event()
        metrics.queue_films.labels("device").set_function(lambda: len(self._items))
        metrics.queue_films.labels("shadow").set_function(lambda: self._shadow.waiting if self._shadow else 0)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def shadow(self) -> Shadow | None:
        """The version in shadow, until it ends."""
        with self._changed:
            if self._shadow and self._shadow.comparison.ended:
                self._shadow = None  # so that nothing holds the version in memory
            return self._shadow

    @shadow.setter
    def shadow(self, shadow: Shadow | None) -> None:
        with self._changed:
            self._shadow = shadow

    def offer(self, item: Item, verdict: Verdict) -> None:
        """Let the shadow judge a judged film again, when there is time."""
        if shadow := self.shadow:
            with self._changed:
                shadow.offer(item.version, item.tensor, verdict)
                self._changed.notify_all()

    def put(self, item: Item) -> None:
        """Add a film at the end."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def put_back(self, items: Sequence[Item]) -> None:
        """Return films that were taken, to the front."""
        with self._changed:
            self._items.extendleft(reversed(items))
            self._changed.notify_all()

    def withdraw(self, item: Item) -> None:
        """Take out a film that nobody waits for any more, if it is still here."""
        with self._changed:
            if item in self._items:
                self._items.remove(item)
                self._metrics.dropped_films.labels("cancelled").inc()

    def fail_all(self, error: Exception) -> None:
        """Answer all films that wait with the same error."""
        with self._changed:
            items, self._items = list(self._items), deque()
        for item in items:
            if self._begin(item):
                item.result.set_exception(error)

    def close(self) -> None:
        """Let ``take`` end once nothing waits."""
        with self._changed:
            self.closed.set()
            self._changed.notify_all()

    def take(self, limit: int) -> list[Item] | ShadowFilm:
        """Take the first films of one version, up to `limit`, as soon as there are any; none if the queue is closed and empty.

        A released film is a batch by itself. While no film waits, the shadow's next film is taken. Films that were cancelled or
        are past their deadline are dropped.

        With ``CXR_BATCH_WAIT_MS`` a batch that is not full waits for more films until its first film has waited so long, unless
        a film would miss its deadline by that.
        """
        with self._changed:
            while True:
                while not self._items and not self.closed.is_set():
                    if self._shadow and (film := self._shadow.next()):
                        return film
                    self._changed.wait()
                if not self._items:
                    return []
                self._wait_for_more(limit)
                batch: list[Item] = []
                while self._items and len(batch) < limit:
                    if batch and not batch[0].goes_with(self._items[0]):
                        break
                    item = self._items.popleft()
                    if self._begin(item) and not self._expired(item):
                        batch.append(item)
                if batch:
                    return batch

    def _wait_for_more(self, limit: int) -> None:
        while 0 < len(self._items) < limit and not self.closed.is_set():
            until = self._items[0].queued + self._wait_seconds
            left = until - time.monotonic()
            if left <= 0 or min(item.expires for item in self._items) <= until:
                return
            self._changed.wait(left)

    def _begin(self, item: Item) -> bool:
        """Whether a film was not cancelled; from now on it cannot be."""
        if item.result.running() or item.result.set_running_or_notify_cancel():
            return True
        self._metrics.dropped_films.labels("cancelled").inc()
        return False

    def _expired(self, item: Item) -> bool:
        if time.monotonic() < item.expires:
            return False
        item.result.set_exception(DeadlinePassed("its turn came after the deadline"))
        self._metrics.dropped_films.labels("expired").inc()
        return True
