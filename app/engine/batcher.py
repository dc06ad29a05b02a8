"""Ready tensors -> batches on a device -> futures.

Each item has its own future. A cancelled or expired item is dropped when it is taken; a batch that fails
is run again item by item, so that one image never fails or delays its neighbours beyond its own turn.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.metrics import Metrics
from app.pipeline import Screener, Verdict
from app.settings import Settings

from .errors import InferenceFailed

log = logging.getLogger("cxr_gate")


@dataclass
class Item:
    """A film that waits for a device."""

    tensor: Tensor
    expires: float  # time.monotonic()
    explain: int | None = None  # a finding, by its row
    result: Future[Verdict] = field(default_factory=Future)
    heatmap: NDArray[np.float32] | None = None  # there before the result is


class Batcher:
    """One thread for the device, which takes everything that waits."""

    def __init__(self, screener: Screener, settings: Settings, metrics: Metrics) -> None:
        self._screener = screener
        self._settings = settings
        self._metrics = metrics
        self._ready_items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._device_thread = threading.Thread(target=self._run_device, name="device", daemon=True)

    def start(self) -> None:
        """Begin to take items."""
        self._device_thread.start()

    def stop(self) -> None:
        """Finish what waits."""
        if self._device_thread.is_alive():
            self._ready_items.put(None)
            self._device_thread.join(timeout=self._settings.drain_seconds)

    @property
    def running(self) -> bool:
        """Whether the device thread lives."""
        return self._device_thread.is_alive()

    def put(self, item: Item) -> None:
        """Queue an item for the next batch."""
        self._ready_items.put(item)

    def _run_device(self) -> None:
        while True:
            first = self._ready_items.get()
            if first is None:
                return
            batch, stopping = self._take_all(first)
            if batch:
                self._metrics.batch_size.observe(len(batch))
                with self._metrics.stage_seconds.labels("inference").time():
                    self._judge(batch)
            if stopping:
                return

    def _take_all(self, first: Item) -> tuple[list[Item], bool]:
        """Everything that waits, up to the batch limit, less what was cancelled or came too late."""
        batch: list[Item] = []
        item: Item | None = first
        while item is not None:
            # False for a cancelled one; a True also forbids cancelling it from now on.
            if time.monotonic() < item.expires and item.result.set_running_or_notify_cancel():
                batch.append(item)
            if len(batch) == self._settings.max_batch:
                return batch, False
            try:
                item = self._ready_items.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _judge(self, batch: list[Item]) -> None:
        try:
            results = self._screener.screen(torch.cat([item.tensor for item in batch]))
        except Exception as error:  # a device may fail in any way; its thread must live on
            if len(batch) > 1:
                log.warning("a batch failed and is run again item by item", extra={"batch_size": len(batch)})
                for item in batch:
                    self._judge([item])
            else:
                log.error("inference failed", extra={"error": type(error).__name__})
                batch[0].result.set_exception(InferenceFailed("the device failed on this image; try again"))
            return
        for item, result in zip(batch, results, strict=True):
            if isinstance(result, Verdict):
                self._answer(item, result)
            else:
                item.result.set_exception(result)

    def _answer(self, item: Item, verdict: Verdict) -> None:
        """Give a verdict, with the heatmap that was asked for; behind the gate there is none."""
        if item.explain is not None and verdict.accepted:
            try:
                item.heatmap = self._screener.explain(item.tensor, item.explain)
            except Exception as error:
                log.error("explaining failed", extra={"error": type(error).__name__})
                item.result.set_exception(InferenceFailed("the device failed on this image; try again"))
                return
        item.result.set_result(verdict)
