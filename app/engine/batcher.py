"""Ready films -> batches on the devices -> verdicts."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from app.metrics import Metrics
from app.settings import Settings

from .device import Device
from .errors import NotReady
from .pace import Pace
from .ready import Item, Judged, ReadyQueue
from .shadow import Shadow
from .version import Version


class Batcher:
    """Runs one thread for each device. All take films of any version from one queue.

    Attributes
    ----------
    active : Version
        Its golden outputs prove the devices.
    """

    def __init__(self, active: Version, settings: Settings, metrics: Metrics) -> None:
        self.active = active
        self._drain_seconds = settings.drain_seconds
        self._ready = ReadyQueue(settings, metrics)
        self._seconds = Pace(settings.deadline_seconds)
        self._devices: list[Device] = []
        for number in range(len(active.screeners)):
            device = Device(number, lambda: self.active, self._ready, self._devices, self._seconds, settings, metrics)
            self._devices.append(device)
        metrics.devices_in_service.set_function(lambda: self.in_service)

    def start(self) -> None:
        """Prove every device, then begin to take films.

        Raises
        ------
        BundleError
            The golden outputs were not reproduced.
        """
        for device in self._devices:
            device.prove()
        for device in self._devices:
            device.start()

    def stop(self) -> None:
        """Finish the films that wait."""
        self._ready.close()
        end = time.monotonic() + self._drain_seconds
        for device in self._devices:
            device.join(max(0.0, end - time.monotonic()))

    @property
    def shadow(self) -> Shadow | None:
        """The version in shadow."""
        return self._ready.shadow

    @shadow.setter
    def shadow(self, shadow: Shadow | None) -> None:
        self._ready.shadow = shadow

    @property
    def in_service(self) -> int:
        """How many devices take films."""
        return sum(device.in_service for device in self._devices)

    @property
    def pending(self) -> int:
        """Films that wait for a device or are on one."""
        return len(self._ready) + sum(device.judging for device in self._devices)

    @property
    def seconds_a_film(self) -> float:
        """Measured seconds a film, of all devices together; 0 if nothing is known."""
        return self._seconds.seconds / max(1, self.in_service)

    async def result(self, item: Item) -> Judged | NDArray[np.float64]:
        """Run a film in the next batch. If the caller is cancelled, its film leaves the queue.

        Raises
        ------
        UnsuitableImage, NumericalError, InferenceFailed, DeadlinePassed
        NotReady
            No device is in service.
        """
        self._ready.put(item)
        try:
            if not self.in_service:  # checked once the film is queued: a device that leaves later finds it there
                raise NotReady("no device is in service; try again shortly")
            return await asyncio.wrap_future(item.result)
        except (asyncio.CancelledError, NotReady):
            self._ready.withdraw(item)
            raise
