"""Decides where a film is decoded and how many at once, and measures it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Literal

from prometheus_client import Gauge
from torch import Tensor

from app.metrics import Metrics
from app.pipeline import DecodedImage, decode, film_tensor
from app.pipeline.decode import sniff
from app.pipeline.dicom.part10 import is_uncompressed
from app.pipeline.image import SourceKind
from app.pipeline.stripping import is_out_of_proportion
from app.settings import Settings

from .decode_pool import TOO_BUSY, DecodePool, DecodingUnavailable, Failure
from .fork_server import DecodeOptions

Place = Literal["thread", "process"]


def place_of(data: bytes, kind: SourceKind | None = None) -> Place:
    """Where to decode a film: in a process, unless it is surely uncompressed DICOM, or PNG or JPEG of a usual size.

    Parameters
    ----------
    data : bytes
    kind : SourceKind, optional
        The declared kind. None: the signature decides.

    Raises
    ------
    MalformedImage
        The bytes are none of the three.
    """
    kind = kind or sniff(data)
    in_thread = is_uncompressed(data) if kind == "dicom" else not is_out_of_proportion(data, kind)
    return "thread" if in_thread else "process"


class Decoders:
    """Decodes for many requests at once; ``start`` before use, ``stop`` after.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics
    took : callable
        Called for each film, decoded or not, with the seconds for which it kept others waiting: its own seconds, divided by the
        number of films that are decoded there at once.
    """

    def __init__(self, settings: Settings, metrics: Metrics, took: Callable[[float], None]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._took = took
        self._at_once: dict[Place, int] = {"thread": settings.decode_threads, "process": settings.decode_processes}
        # A thread waits for a film's process, and then resizes the film.
        self._pools: dict[Place, ThreadPoolExecutor] = {
            place: ThreadPoolExecutor(count, thread_name_prefix=f"decode-{place}")
            for place, count in self._at_once.items()
        }
        options = DecodeOptions(
            settings.max_pixels,
            settings.header_rules,
            settings.decode_memory_mb * 2**20,
            math.ceil(settings.decode_seconds),
            settings.decode_sandbox,
        )
        self._decode_pool = DecodePool(options, self._count_failure)

    def start(self) -> None:
        """Start the pool of processes; takes under a second.

        Raises
        ------
        DecodingUnavailable
        """
        self._decode_pool.start()

    def stop(self) -> None:
        """Finish the films that were submitted."""
        for pool in self._pools.values():
            pool.shutdown(wait=True)
        self._decode_pool.stop()

    async def decode(self, data: bytes, until: float, kind: SourceKind | None = None) -> tuple[DecodedImage, Tensor]:
        """Decode a film as its declared kind, or as its signature says; the tensor has shape (1, 1, 224, 224).

        A film that is cancelled while it waits is dropped. One that is cancelled while it is decoded is decoded to its end.

        Parameters
        ----------
        data : bytes
        until : float
            When to give up a film that is decoded in a process, in ``time.monotonic()`` seconds.
        kind : SourceKind, optional
            As in ``place_of``.

        Raises
        ------
        InputError
        DecodingUnavailable
        """
        place = place_of(data, kind)
        waiting = self._waiting(place)
        waiting.inc()
        held = [data]  # the pool keeps a cancelled task until a thread comes to it, but then without the film's bytes
        # In the request's context, so that log lines from there name the request.
        future = self._pools[place].submit(copy_context().run, self._timed, place, held, until, kind)

        def note_dropped(done: Future[tuple[DecodedImage, Tensor]]) -> None:
            if done.cancelled():
                held.clear()
                waiting.dec()

        future.add_done_callback(note_dropped)
        try:
            async with asyncio.timeout(until - time.monotonic() if place == "process" else None):
                return await asyncio.wrap_future(future)
        except (
            TimeoutError
        ):  # its turn did not come; the pool itself gives up a film that is being decoded at this moment
            raise DecodingUnavailable(TOO_BUSY) from None

    def _timed(
        self, place: Place, held: list[bytes], until: float, kind: SourceKind | None
    ) -> tuple[DecodedImage, Tensor]:
        self._waiting(place).dec()
        began = time.perf_counter()
        try:
            return self._decode(place, held.pop(), until, kind)
        finally:
            self._took((time.perf_counter() - began) / self._at_once[place])

    def _decode(self, place: Place, data: bytes, until: float, kind: SourceKind | None) -> tuple[DecodedImage, Tensor]:
        began = time.perf_counter()
        try:
            image = (
                self._in_thread(data, kind)
                if place == "thread"
                else self._decode_pool.decode(data, until, kind or sniff(data))
            )
        finally:
            seconds = time.perf_counter() - began
            self._metrics.stage_seconds.labels("decode").observe(seconds)
            self._metrics.decode_seconds.labels(place).observe(seconds)
        for keyword in image.missing_tags:
            self._metrics.missing_tags.labels(keyword).inc()
        with self._metrics.stage_seconds.labels("preprocess").time():
            return image, film_tensor(image)

    def _waiting(self, place: Place) -> Gauge:
        return self._metrics.queue_films.labels(f"decode-{place}")

    def _in_thread(self, data: bytes, kind: SourceKind | None) -> DecodedImage:
        return decode(data, kind=kind, max_pixels=self._settings.max_pixels, rules=self._settings.header_rules)

    def _count_failure(self, reason: Failure) -> None:
        self._metrics.decode_process_failures.labels(reason).inc()
