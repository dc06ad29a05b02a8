"""One device and its thread, which takes batches, answers them, and leaves service when the device cannot be trusted.

A batch that fails is run again film by film, so that one film never fails its neighbours. If a film fails alone too, the
golden check shows the fault. If the check passes, the film is at fault. If the check fails, the device is at fault: it goes out
of service, and its unanswered films go back to the queue. If there is no other device, their callers get "not ready".
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from app import tracing
from app.metrics import Metrics
from app.pipeline import Verdict
from app.pipeline.errors import NumericalError, UnsuitableImage
from app.settings import Settings

from .errors import InferenceFailed, NotReady
from .pace import Pace
from .ready import Item, Judged, ReadyQueue
from .shadow import ShadowFilm
from .version import Version

log = logging.getLogger("cxr_gate")

#: A device that failed on so many films in a row leaves service, even if the golden check passes, if there is another device.
MOST_FAILURES_IN_A_ROW: Final = 3
#: A batch that takes longer hangs; its device does not count as in service until the batch ends.
STUCK_SECONDS: Final = 60.0


class Device:
    """One thread, which runs every version's screener of one device.

    Parameters
    ----------
    number : int
        Its place in the order of devices.
    active : callable
        Gives the version whose golden outputs prove the device.
    ready : ReadyQueue
        Shared with the other devices.
    peers : sequence of Device
        All devices, this one too.
    seconds : Pace
        Takes the seconds of a film on a device.
    """

    def __init__(
        self,
        number: int,
        active: Callable[[], Version],
        ready: ReadyQueue,
        peers: Sequence[Device],
        seconds: Pace,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._number = number
        self._active = active
        self._ready = ready
        screener = active().screeners[number]
        self._most = min(settings.max_batch, screener.most_at_once or settings.max_batch)
        self._peers = peers
        self._seconds = seconds
        self._retry_seconds = settings.device_retry_seconds
        self._metrics = metrics
        self._name = str(screener.device)
        self._trusted = True
        self._failures = 0
        self._batch: list[Item] = []
        self._began: float | None = None  # of the present batch or shadow's film, s
        self._thread = threading.Thread(target=self._run, name=f"device {self._name}", daemon=True)

    def prove(self) -> None:
        """Reproduce the golden outputs of the active version.

        Raises
        ------
        BundleError
        """
        self._active().screeners[self._number].require_golden()

    def start(self) -> None:
        """Begin to take batches."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end, once the queue is closed."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def in_service(self) -> bool:
        """Whether it takes batches and finishes them."""
        began = self._began
        stuck = began is not None and time.monotonic() - began > STUCK_SECONDS
        return self._trusted and self._thread.is_alive() and not stuck

    @property
    def judging(self) -> int:
        """How many films are on the device that a caller waits for."""
        return len(self._batch)

    def _run(self) -> None:
        try:
            while self._trusted or self._returned():
                taken = self._ready.take(self._most)
                if not taken:
                    return
                self._began = time.monotonic()
                if isinstance(taken, ShadowFilm):
                    taken.shadow.judge(taken, self._number)
                else:
                    self._batch = taken
                    self._work(taken, self._began)
                    self._batch = []
                self._began = None
        except BaseException as error:  # the thread ends, but its films must still be answered
            log.critical("the thread of a device died", exc_info=error, extra={"device": self._name})
            self._leave([item for item in self._batch if not item.result.done()])

    def _work(self, batch: list[Item], began: float) -> None:
        self._metrics.batch_size.observe(len(batch))
        for item in batch:
            self._metrics.wait_seconds.observe(began - item.admitted)
            self._metrics.stage_seconds.labels("queue").observe(began - item.queued)
        with self._metrics.stage_seconds.labels("inference").time():
            self._judge(batch)
        self._seconds.add((time.monotonic() - began) / len(batch))
        tracing.batch([item.trace for item in batch], [item.queued for item in batch], began, batch[0].version.name)

    def _judge(self, batch: list[Item]) -> None:
        if self._answered(batch):
            return
        log.warning("a batch failed and is run again film by film", extra={"batch_size": len(batch)})
        for index, item in enumerate(batch):
            if not self._answered([item]) and not self._may_stay(item):
                self._leave(batch[index:])
                return

    def _answered(self, batch: list[Item]) -> bool:
        """Run the films of a batch; False if the batch failed."""
        try:
            judged = list(zip(batch, self._results(batch), strict=True))
        except Exception as error:  # a device may fail in any way; its thread must live on
            log.error("inference failed", extra=self._failure(error, batch))
            return False
        self._failures = 0
        for item, result in judged:
            if isinstance(result, Verdict):
                self._answer(item, result)
            elif isinstance(result, Exception):
                item.result.set_exception(result)
            else:
                item.result.set_result(result)
        return True

    def _results(self, batch: list[Item]) -> Sequence[Verdict | NDArray[np.float64] | NumericalError | UnsuitableImage]:
        """The verdicts of a batch, or the probabilities of a released film, which is alone in its batch."""
        screener = batch[0].version.screeners[self._number]
        if not batch[0].released:
            return screener.screen(torch.cat([item.tensor for item in batch]))
        (film,) = batch
        try:
            return [screener.set_gate_aside(film.tensor)]
        except (NumericalError, UnsuitableImage) as error:
            return [error]

    def _failure(self, error: Exception, batch: list[Item]) -> dict[str, object]:
        requests = [item.trace.request_id for item in batch if item.trace]
        return {"error": type(error).__name__, "device": self._name, "request_ids": requests}

    def _answer(self, item: Item, verdict: Verdict) -> None:
        """Give a verdict, with the heatmap if the request wants one and the gate accepted the film."""
        heatmap = None
        try:
            if item.explain is not None and verdict.accepted:
                heatmap = item.version.screeners[self._number].explain(item.tensor, item.explain)
        except Exception as error:
            log.error("the heatmap beside the verdict failed", extra=self._failure(error, [item]))
            item.result.set_exception(InferenceFailed("the device failed on this image; try again"))
            return
        item.result.set_result(Judged(item.version, verdict, heatmap))
        if item.compared:
            self._ready.offer(item, verdict)

    def _may_stay(self, item: Item) -> bool:
        """Whether the device may stay in service after a film failed alone. If so, the film is answered with an error."""
        self._metrics.device_failures.labels(self._name).inc()
        self._failures += 1
        if not self._proven() or (self._failures >= MOST_FAILURES_IN_A_ROW and self._others_in_service()):
            return False
        item.result.set_exception(InferenceFailed("the device failed on this image; try again"))
        return True

    def _leave(self, unanswered: list[Item]) -> None:
        """Go out of service, and leave the unanswered films to the other devices."""
        self._trusted = False
        self._ready.put_back(unanswered)
        log.critical("a device is out of service", extra={"device": self._name})
        if not self._others_in_service():
            self._ready.fail_all(NotReady("no device is in service; try again shortly"))

    def _returned(self) -> bool:
        """Wait until the golden check passes again; False if the service ends first."""
        while not self._ready.closed.wait(self._retry_seconds):
            if self._proven():
                self._failures, self._trusted = 0, True
                log.warning("a device is back in service", extra={"device": self._name})
                return True
        return False

    def _proven(self) -> bool:
        try:
            self.prove()
        except Exception as error:
            log.error("the golden check failed", extra={"error": type(error).__name__, "device": self._name})
            return False
        return True

    def _others_in_service(self) -> bool:
        return any(device.in_service for device in self._peers if device is not self)
