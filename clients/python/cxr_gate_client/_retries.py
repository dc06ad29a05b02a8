"""When to try again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx

from ._problems import retry_after

_PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """Limits on tries and waits.

    Attributes
    ----------
    most : int
        Tries after the first.
    most_seconds : float
        The longest wait. If the service asks for more, its answer is raised at once.
    first_seconds : float
        The first wait if the service asks for none. It doubles each time, and a random part of up to half is taken off, so
        that callers do not come together.
    """

    most: int = 4
    most_seconds: float = 60.0
    first_seconds: float = 0.5

    def wait(self, tried: int, answer: httpx.Response | None) -> float | None:
        """Seconds until the next try after `tried` tries; None: no more tries. `answer` is None if the connection broke."""
        if tried > self.most or (answer is not None and answer.status_code not in _PASSING):
            return None
        told = None if answer is None else retry_after(answer)
        if told is not None:
            return told if told <= self.most_seconds else None
        usual = min(self.first_seconds * 2.0 ** (tried - 1), self.most_seconds)
        return usual * random.uniform(0.5, 1.0)
