"""A version in shadow: it judges films that the active version has judged, is compared with it, and answers nobody.

Its films wait in a queue of their own, of bounded length, and a device takes one of them only when no caller's film is
ready. A live film loses the time of one film at most.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np
from torch import Tensor

from app.metrics import Metrics
from app.pipeline import Verdict
from app.pipeline.errors import NumericalError, UnsuitableImage

from .version import Version

log = logging.getLogger("cxr_gate")

#: A shadow that failed on so many films in a row is withdrawn.
MOST_FAILURES_IN_A_ROW: Final = 5
Decision = Literal["accepted", "rejected", "not_judged"]


@dataclass
class Comparison:
    """How a shadow and the active version judged the same films.

    Attributes
    ----------
    shadow, active : str
        Names of the two versions.
    decisions : Counter
        (the active version's decision, the shadow's) -> number of films.
    largest_difference : float
        The largest absolute difference of a probability, in [0, 1], over films that both accepted.
    dropped : int
        Films that found the queue full.
    errors : int
        Films that the shadow failed on.
    ended : str or None
        Why the comparison is over; None while it goes on.
    """

    shadow: str
    active: str
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    decisions: Counter[tuple[Decision, Decision]] = field(default_factory=Counter)
    largest_difference: float = 0.0
    dropped: int = 0
    errors: int = 0
    ended: str | None = None


@dataclass(frozen=True)
class ShadowFilm:
    """A film that waits for its second judgement, and the first one."""

    shadow: Shadow
    tensor: Tensor
    verdict: Verdict


class Shadow:
    """A version beside the active one.

    Parameters
    ----------
    version, active : Version
        The version in shadow, and the one to compare it with: films that another version judged are not taken.
    limit : int
        Films that may wait.
    """

    def __init__(self, version: Version, active: Version, limit: int, metrics: Metrics) -> None:
        self.version = version
        self.comparison = Comparison(version.name, active.name)
        self._active = active
        self._limit = limit
        self._metrics = metrics
        self._films: deque[ShadowFilm] = deque()
        self._failures = 0
        self._lock = threading.Lock()  # several devices judge at once

    @property
    def waiting(self) -> int:
        """How many films wait for it."""
        return len(self._films)

    def offer(self, version: Version, tensor: Tensor, verdict: Verdict) -> None:
        """Take a film that `version` has judged, if there is room."""
        with self._lock:
            if version is not self._active or self.comparison.ended:
                return
            if len(self._films) < self._limit:
                self._films.append(ShadowFilm(self, tensor, verdict))
                return
            self.comparison.dropped += 1
        self._metrics.shadow_dropped.labels(self.version.name).inc()

    def next(self) -> ShadowFilm | None:
        """The film that has waited longest."""
        with self._lock:
            return self._films.popleft() if self._films else None

    def end(self, reason: str) -> None:
        """Take no more films, and forget those that wait."""
        with self._lock:
            self._end(reason)

    def judge(self, film: ShadowFilm, device: int) -> None:
        """Judge a film on a device, which is given by its number, and compare. Errors are counted, not raised."""
        try:
            with self._metrics.stage_seconds.labels("shadow").time():
                (result,) = self.version.screeners[device].screen(film.tensor)
            if isinstance(result, NumericalError):
                raise result
        except Exception as error:  # the shadow may fail in any way, and must harm nobody
            self._failed(type(error).__name__)
        else:
            self._compare(film.verdict, result)

    def _compare(self, active: Verdict, shadow: Verdict | UnsuitableImage) -> None:
        decisions = (_decision(active), _decision(shadow))
        difference = None
        if active.probabilities is not None and isinstance(shadow, Verdict) and shadow.probabilities is not None:
            difference = float(np.abs(active.probabilities - shadow.probabilities).max())
        with self._lock:
            self._failures = 0
            if self.comparison.ended:  # a comparison that has ended does not change
                return
            self.comparison.decisions[decisions] += 1
            self.comparison.largest_difference = max(self.comparison.largest_difference, difference or 0.0)
        self._metrics.shadow_decisions.labels(self.version.name, *decisions).inc()
        if difference is not None:
            self._metrics.shadow_difference.labels(self.version.name).observe(difference)

    def _failed(self, kind: str) -> None:
        name = self.version.name
        with self._lock:
            if self.comparison.ended:
                return
            self.comparison.errors += 1
            self._failures += 1
            withdrawn = self._failures >= MOST_FAILURES_IN_A_ROW
            if withdrawn:
                self._end(f"withdrawn: it failed on {self._failures} films in a row, the last time with {kind}")
        self._metrics.shadow_errors.labels(name).inc()
        log.warning("the shadow failed on a film", extra={"model_version": name, "error": kind})
        if withdrawn:
            log.error("the shadow is withdrawn: it failed too often", extra={"model_version": name, "error": kind})

    def _end(self, reason: str) -> None:
        self.comparison.ended = self.comparison.ended or reason
        self._films.clear()


def _decision(result: Verdict | UnsuitableImage) -> Decision:
    if isinstance(result, UnsuitableImage):
        return "not_judged"
    return "accepted" if result.accepted else "rejected"
