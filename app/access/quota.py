"""How much a caller may ask: a bucket of tokens for each, which fills at its rate; a request takes one."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Callers of whom a bucket is kept; of the one who came longest ago it is forgotten, which is as if it were full.
MOST_CALLERS: Final = 65_536


@dataclass(frozen=True)
class Quota:
    """A rate, and what may be asked at once after a pause.

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
        """In which an empty bucket fills, in whole seconds: `burst` requests in so many are the rate."""
        return math.ceil(self.burst * 60 / self.per_minute)


class Quotas:
    """The buckets of all callers. Used in one thread.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when there were so many

    def take(self, caller: str, quota: Quota) -> float:
        """Take a token; 0, or the seconds until there is one: then none was taken."""
        tokens = self._tokens(caller, quota)
        if tokens < 1:
            return (1 - tokens) * 60 / quota.per_minute
        self.owe(caller, quota)
        return 0.0

    def owe(self, caller: str, quota: Quota) -> None:
        """Take a token that may not be there yet: for work which has begun, and which the caller's next request waits for."""
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
