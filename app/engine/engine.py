"""All that a request uses of the service: a place for its body, a deadline, a decoder, a device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from app.decoding.decode_pool import TOO_BUSY, DecodingUnavailable
from app.decoding.decoders import Decoders
from app.metrics import Metrics
from app.pipeline import DecodedImage
from app.pipeline.image import SourceKind
from app.settings import Settings
from app.tracing import span

from .admission import Admission
from .batcher import Batcher
from .errors import DeadlinePassed, NotReady
from .pace import Pace
from .place import Place
from .ready import Item, Judged
from .shadow import Shadow
from .share import Share
from .version import Version

#: A compressed film that is not decoded so long before the deadline is given up. Its sender then gets 503 and not 504, and
#: learns that the machine was too busy, and when to try again. The shorter of the two times counts.
ANSWERED_SECONDS: Final = 1.0
ANSWERED_SHARE: Final = 0.1


@dataclass(frozen=True)
class Deadline:
    """The end of a request's time; ``expires`` is in seconds of ``time.monotonic()``."""

    expires: float
    _timeout: asyncio.Timeout

    def met(self) -> None:
        """Lift the deadline: it cuts nothing off from now on."""
        self._timeout.reschedule(None)


class Engine:
    """Judges films for many requests at once, by the active version; ``start`` before use, ``stop`` after."""

    def __init__(self, active: Version, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._decode_seconds = Pace(settings.deadline_seconds)
        self._decoders = Decoders(settings, metrics, self._decode_seconds.add)
        self._batcher = Batcher(active, settings, metrics)
        self._share = Share(max(settings.decode_threads, settings.decode_processes) + 1)
        metrics.queue_films.labels("decode-caller").set_function(lambda: self._share.waiting)
        self._admission = Admission(settings, metrics, self._seconds_of)
        self._accepting = False
        metrics.ready.set_function(lambda: self.ready)

    def start(self) -> None:
        """Prove the bundle on every device, then accept work.

        Raises
        ------
        BundleError
            The golden outputs were not reproduced.
        DecodingUnavailable
            No process to decode in could be started.
        """
        # OpenBLAS's threads spin for milliseconds after each product of the Gaussian. That took 26 ms of CPU a film, a third
        # of the whole. In the device's thread alone the product costs less than a film's resizing.
        ThreadpoolController().select(internal_api="openblas").limit(limits=1)
        self._decoders.start()
        self._batcher.start()
        self._accepting = True

    def stop(self) -> None:
        """Refuse new work, and finish the admitted requests."""
        self._accepting = False
        self._decoders.stop()
        self._batcher.stop()

    @property
    def ready(self) -> bool:
        """Whether work is accepted and a device is in service."""
        return self._accepting and self._batcher.in_service > 0

    @property
    def active(self) -> Version:
        """The version that judges the next films."""
        return self._batcher.active

    def activate(self, version: Version) -> None:
        """Let `version` judge from now on. Films that wait already stay with their version. The shadow ends.

        `version` must be proven on every device. May be called from any thread.
        """
        self.end_shadow(f"{version.name} became active")
        self._batcher.active = version

    @property
    def shadow(self) -> Shadow | None:
        """The version that judges again the films that the active one has judged."""
        return self._batcher.shadow

    def begin_shadow(self, version: Version) -> Shadow:
        """Let a version judge in shadow instead of an earlier one. It must be proven on every device."""
        self.end_shadow(f"{version.name} took its place")
        shadow = Shadow(version, self.active, self._settings.shadow_waiting, self._metrics)
        self._batcher.shadow = shadow
        return shadow

    def end_shadow(self, reason: str) -> None:
        """Take the shadow out, if there is one; the reason is for operators."""
        if shadow := self._batcher.shadow:
            shadow.end(reason)
            self._batcher.shadow = None

    def admit(self, sharer: str) -> None:
        """Refuse before the body is read if nothing more can wait.

        Raises
        ------
        NotReady, Overloaded
        """
        if not self.ready:
            self._metrics.admissions_refused.labels("not-ready").inc()
            raise NotReady("the service is starting or stopping, or no device is in service; try again shortly")
        self._admission.check(sharer)

    def room_for(self, sharer: str, count: int) -> bool:
        """Whether another place of `count` bytes would be given now."""
        return self.ready and self._admission.room_for(sharer, count)

    @property
    def retry_after(self) -> int:
        """Estimated seconds until the requests that wait now are done: whole, at least 1."""
        return self._admission.retry_after

    @contextmanager
    def place(self, sharer: str) -> Iterator[Place]:
        """Hold one of the places, which bound the films in memory; take and leave it in the event loop's thread.

        Parameters
        ----------
        sharer : str
            The caller who shares places with others; its address where callers have no names.

        Raises
        ------
        NotReady, Overloaded
        """
        self.admit(sharer)
        with self._admission.place(sharer) as place:
            yield place

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[Deadline]:
        """Cut the block off at the deadline, unless the block calls ``Deadline.met`` before.

        Raises
        ------
        DeadlinePassed
        """
        seconds = self._settings.deadline_seconds
        try:
            async with asyncio.timeout(seconds) as timeout:
                yield Deadline(time.monotonic() + seconds, timeout)
        except TimeoutError as error:
            raise DeadlinePassed(f"no verdict within {seconds:g} s") from error

    async def decode(
        self, sharer: str, data: bytes, expires: float, kind: SourceKind | None = None
    ) -> tuple[DecodedImage, Tensor]:
        """Decode a film as the declared kind, or else as the kind of its signature; the tensor has shape (1, 1, 224, 224).

        The request's deadline ends at `expires`. `sharer` is the film's caller, as in ``place``: only a few films of each caller
        are decoded or in line at once.

        Raises
        ------
        InputError, DecodingUnavailable
        """
        left = min(ANSWERED_SECONDS, ANSWERED_SHARE * self._settings.deadline_seconds)
        with span("decode"):
            try:
                async with asyncio.timeout(expires - left - time.monotonic()) as turn, self._share.of(sharer):
                    turn.reschedule(None)
                    return await self._decoders.decode(data, expires - left, kind)
            except TimeoutError:  # the caller's earlier films took all the time
                raise DecodingUnavailable(TOO_BUSY) from None

    async def judge(
        self, version: Version, tensor: Tensor, expires: float, *, explain: int | None = None, compared: bool = True
    ) -> Judged:
        """Judge a film in the next batch of `version`, unless its turn comes after `expires`.

        Parameters
        ----------
        explain : int, optional
            Row of the finding whose heatmap is wanted.
        compared : bool
            Whether the version in shadow judges the film too.

        Raises
        ------
        UnsuitableImage, NumericalError, InferenceFailed, DeadlinePassed, NotReady
        """
        item = self._item(version, tensor, expires)
        item.explain, item.compared = explain, compared
        judged = await self._batcher.result(item)
        assert isinstance(judged, Judged)
        return judged

    async def screen_released(
        self, sharer: str, film: bytes, kind: SourceKind
    ) -> tuple[Version, DecodedImage, NDArray[np.float64]]:
        """Probabilities (L,) of a film that an authorised person released, whatever the gate says; with version and image.

        Not for posted films: only for a kept film whose release is in the record.

        Raises
        ------
        InputError, NumericalError, NotReady, Overloaded, DecodingUnavailable, DeadlinePassed, InferenceFailed
        """
        with self.place(sharer) as place:
            place.reserve(len(film))
            async with self.deadline() as deadline:
                image, tensor = await self.decode(sharer, film, deadline.expires, kind)
                item = self._item(self.active, tensor, deadline.expires)
                item.released = True
                probabilities = await self._batcher.result(item)
        assert isinstance(probabilities, np.ndarray)
        return item.version, image, probabilities

    async def look_at(self, sharer: str, film: bytes, kind: SourceKind) -> DecodedImage:
        """Decode a film for a person to look at.

        Raises
        ------
        InputError, NotReady, Overloaded, DecodingUnavailable, DeadlinePassed
        """
        with self.place(sharer) as place:
            place.reserve(len(film))
            async with self.deadline() as deadline:
                image, _ = await self.decode(sharer, film, deadline.expires, kind)
                return image

    def _item(self, version: Version, tensor: Tensor, expires: float) -> Item:
        return Item(version, tensor, expires - self._settings.deadline_seconds, expires)

    def _seconds_of(self, waiting: int) -> float:
        """Estimated seconds until so many requests are done."""
        decoding = (waiting - self._batcher.pending) * self._decode_seconds.seconds
        return max(decoding, waiting * self._batcher.seconds_a_film)
