"""Limits on requests: each caller has a bucket of tokens, which fills at the caller's rate; a request takes one token."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Most buckets that are kept. Beyond this the one used longest ago is dropped, as if it were full.
MOST_CALLERS: Final = 65_536


@dataclass(frozen=True)
class Quota:
    """A rate, and how many requests may come at once after a pause.

    Attributes
    ----------
    per_minute : float
        Over 0; 600 is ten a second.
    burst : int
        At least 1.
    """

    per_minute: float
    burst: int

    @property
    def window_seconds(self) -> int:
        """Whole seconds in which an empty bucket fills: `burst` requests in this window are the rate."""
        return math.ceil(self.burst * 60 / self.per_minute)


class Quotas:
    """The buckets of all callers. Used in one thread.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and the time of that count

    def take(self, caller: str, quota: Quota) -> float:
        """Take a token and return 0; if there is none, return the seconds until there is one."""
        tokens = self._tokens(caller, quota)
        if tokens < 1:
            return (1 - tokens) * 60 / quota.per_minute
        self.owe(caller, quota)
        return 0.0

    def owe(self, caller: str, quota: Quota) -> None:
        """Take a token even if there is none yet, for work that has begun; the caller's next request waits for it."""
        self._buckets[caller] = self._tokens(caller, quota) - 1, self._clock()
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)

    def left(self, caller: str, quota: Quota) -> tuple[int, int]:
        """How many requests the caller may make now, and the whole seconds until its bucket is full."""
        tokens = self._tokens(caller, quota)
        return max(0, math.floor(tokens)), math.ceil((quota.burst - tokens) * 60 / quota.per_minute)

    def _tokens(self, caller: str, quota: Quota) -> float:
        tokens, since = self._buckets.get(caller, (quota.burst, 0.0))
        return min(quota.burst, tokens + (self._clock() - since) * quota.per_minute / 60)
