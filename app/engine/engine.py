"""A request's straight line: a place -> its body -> decoded -> judged, within one deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.metrics import Metrics
from app.pipeline import DecodedImage, Screener, Verdict, decode, to_tensor
from app.settings import Settings

from .admission import Admission
from .batcher import Batcher, Item
from .errors import DeadlinePassed, NotReady


@dataclass(frozen=True)
class Screened:
    """A verdict and the film that it was given on; ``heatmap`` is that of the finding asked for, if it was accepted."""

    image: DecodedImage
    verdict: Verdict
    heatmap: NDArray[np.float32] | None = None


class Engine:
    """Runs a ``Screener`` for many requests at once; ``start`` before use, ``stop`` after."""

    def __init__(self, screener: Screener, settings: Settings, metrics: Metrics) -> None:
        self._screener = screener
        self._settings = settings
        self._metrics = metrics
        self._decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self._admission = Admission(settings, metrics)
        self._batcher = Batcher(screener, settings, metrics)
        self._accepting = False

    def start(self) -> None:
        """Prove the bundle on the device, then accept work.

        Raises
        ------
        BundleError
            The golden outputs were not reproduced.
        """
        self._screener.require_golden()
        self._batcher.start()
        self._accepting = True

    def stop(self) -> None:
        """Refuse new work, finish what was admitted."""
        self._accepting = False
        self._decoders.shutdown(wait=True)
        self._batcher.stop()

    @property
    def ready(self) -> bool:
        """Whether work is accepted and the device thread lives."""
        return self._accepting and self._batcher.running

    def admit(self) -> None:
        """Refuse before the body is read if nothing more can wait.

        Raises
        ------
        NotReady, Overloaded
        """
        if not self.ready:
            raise NotReady("the service is starting or stopping; try again shortly")
        self._admission.check()

    @property
    def full(self) -> bool:
        """Whether another place would be refused now."""
        return self._admission.full

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places, which bound the films in memory; take and leave it in the event loop's thread.

        Raises
        ------
        NotReady, Overloaded
        """
        self.admit()
        with self._admission.place():
            yield

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
        """Decode a film in a thread; the tensor has shape (1, 1, 224, 224).

        Raises
        ------
        InputError
        """
        return await asyncio.wrap_future(self._decoders.submit(self._decode, data))

    async def judge(self, tensor: Tensor, expires: float) -> Verdict:
        """Judge a film in the next batch, unless its turn comes after `expires`.

        Raises
        ------
        UnsuitableImage, NumericalError, InferenceFailed
        """
        return (await self._judged(Item(tensor, expires))).result.result()

    async def _judged(self, item: Item) -> Item:
        self._batcher.put(item)
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
        NotReady, Overloaded, DeadlinePassed, InferenceFailed
        """
        with self.place():
            async with self.deadline() as expires:
                image, tensor = await self.decode(await read())
                item = await self._judged(Item(tensor, expires, explain))
                return Screened(image, item.result.result(), item.heatmap)

    def _decode(self, data: bytes) -> tuple[DecodedImage, Tensor]:
        with self._metrics.stage_seconds.labels("decode").time():
            image = decode(
                data,
                max_pixels=self._settings.max_pixels,
                accepted_modalities=self._settings.accepted_modalities,
            )
        for keyword in image.missing_tags:
            self._metrics.missing_tags.labels(keyword).inc()
        with self._metrics.stage_seconds.labels("preprocess").time():
            return image, to_tensor(image.pixels)
