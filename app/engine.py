"""Between the HTTP surface and the pipeline: admission, decoding, batches on one device.

    screen -> admitted? -> read the body -> decode -> ready queue -> one device thread takes all that waits -> future

Each item has its own future. A cancelled or expired item is dropped when it is taken; a batch that fails
is run again item by item, so that one image never fails or delays its neighbours beyond its own turn.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.decoding.decoders import Decoders
from app.metrics import Metrics
from app.pipeline import DecodedImage, Screener, Verdict
from app.settings import Settings

log = logging.getLogger("cxr_gate")


class EngineError(Exception):
    """The service, not the image, is the reason that there is no verdict."""


class Overloaded(EngineError):
    """Too many requests wait already."""


class NotReady(EngineError):
    """Starting, stopping, or the golden check failed."""


class DeadlinePassed(EngineError):
    """No verdict within the deadline."""


class InferenceFailed(EngineError):
    """The device failed on this image alone."""


@dataclass(frozen=True)
class Screened:
    """A verdict and the film that it was given on; ``heatmap`` is that of the finding asked for, if it was accepted."""

    image: DecodedImage
    verdict: Verdict
    heatmap: NDArray[np.float32] | None = None


@dataclass
class _Item:
    tensor: Tensor
    expires: float  # time.monotonic()
    explain: int | None = None  # a finding, by its row
    result: Future[Verdict] = field(default_factory=Future)
    heatmap: NDArray[np.float32] | None = None  # there before the result is


class Engine:
    """Runs a ``Screener`` for many requests at once; ``start`` before use, ``stop`` after."""

    def __init__(self, screener: Screener, settings: Settings, metrics: Metrics) -> None:
        self._screener = screener
        self._settings = settings
        self._metrics = metrics
        self._decoders = Decoders(settings, metrics)
        self._ready_items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._device_thread = threading.Thread(target=self._run_device, name="device", daemon=True)
        self._waiting = 0
        self._accepting = False

    def start(self) -> None:
        """Prove the bundle on the device, then accept work.

        Raises
        ------
        BundleError
            The golden outputs were not reproduced.
        DecodingUnavailable
            No process to decode in could be started.
        """
        self._screener.require_golden()
        self._decoders.start()
        self._device_thread.start()
        self._accepting = True

    def stop(self) -> None:
        """Refuse new work, finish what was admitted."""
        self._accepting = False
        self._decoders.stop()
        if self._device_thread.is_alive():
            self._ready_items.put(None)
            self._device_thread.join(timeout=self._settings.drain_seconds)

    @property
    def ready(self) -> bool:
        """Whether work is accepted and the device thread lives."""
        return self._accepting and self._device_thread.is_alive()

    def admit(self) -> None:
        """Refuse before the body is read if nothing more can wait.

        Raises
        ------
        NotReady, Overloaded
        """
        if not self.ready:
            raise NotReady("the service is starting or stopping; try again shortly")
        if self.full:
            raise Overloaded(f"{self._waiting} requests wait already; try again shortly")

    @property
    def full(self) -> bool:
        """Whether another place would be refused now."""
        return self._waiting >= self._settings.max_waiting

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places, which bound the films in memory; take and leave it in the event loop's thread.

        Raises
        ------
        NotReady, Overloaded
        """
        self.admit()
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            yield
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[float]:
        """Cut off what takes longer than the deadline; gives its end, in ``time.monotonic()`` seconds.

        Raises
        ------
        DeadlinePassed
        """
        seconds = self._settings.deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                yield time.monotonic() + seconds
        except TimeoutError as error:
            raise DeadlinePassed(f"no verdict within {seconds:g} s") from error

    async def decode(self, data: bytes) -> tuple[DecodedImage, Tensor]:
        """Decode a film; the tensor has shape (1, 1, 224, 224).

        Raises
        ------
        InputError, DecodingUnavailable
        """
        return await self._decoders.decode(data)

    async def judge(self, tensor: Tensor, expires: float) -> Verdict:
        """Judge a film in the next batch, unless its turn comes after `expires`.

        Raises
        ------
        UnsuitableImage, NumericalError, InferenceFailed
        """
        return (await self._judged(_Item(tensor, expires))).result.result()

    async def _judged(self, item: _Item) -> _Item:
        self._ready_items.put(item)
        await asyncio.wrap_future(item.result)
        return item

    async def screen(self, read: Callable[[], Awaitable[bytes]], explain: int | None = None) -> Screened:
        """Admit a request, then read, decode and judge its film, all within one deadline.

        Parameters
        ----------
        read : callable
            Gives the bytes of the film. It is called once there is a place, so that the bodies held in
            memory are bounded, and is cut off at the deadline, so that a slow sender cannot keep a place.
        explain : int, optional
            The finding whose heatmap is wanted, by its row.

        Raises
        ------
        InputError, NumericalError
            From the pipeline, and whatever `read` raises.
        NotReady, Overloaded, DecodingUnavailable, DeadlinePassed, InferenceFailed
        """
        with self.place():
            async with self.deadline() as expires:
                image, tensor = await self.decode(await read())
                item = await self._judged(_Item(tensor, expires, explain))
                return Screened(image, item.result.result(), item.heatmap)

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

    def _take_all(self, first: _Item) -> tuple[list[_Item], bool]:
        """Everything that waits, up to the batch limit, less what was cancelled or came too late."""
        batch: list[_Item] = []
        item: _Item | None = first
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

    def _judge(self, batch: list[_Item]) -> None:
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

    def _answer(self, item: _Item, verdict: Verdict) -> None:
        """Give a verdict, with the heatmap that was asked for; behind the gate there is none."""
        if item.explain is not None and verdict.accepted:
            try:
                item.heatmap = self._screener.explain(item.tensor, item.explain)
            except Exception as error:
                log.error("explaining failed", extra={"error": type(error).__name__})
                item.result.set_exception(InferenceFailed("the device failed on this image; try again"))
                return
        item.result.set_result(verdict)
