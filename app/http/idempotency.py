"""``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header): a sender that tries again gets the first decision.

The record holds the decision, and returns it after a restart and at another replica. This module remembers which film a
key came with, so that it can refuse the key with another film. It forgets a key after a day, at a restart, or when there are
very many; the key then counts as new.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from .problems import HttpError

HEADER: Final = "Idempotency-Key"
KEPT_SECONDS: Final = 24 * 3600.0
#: Keys of all callers together; the oldest is forgotten first.
MOST_KEYS: Final = 65_536
#: The draft asks for a string of structured fields (RFC 8941). Most clients send it without quotation marks.
PATTERN: Final = r'("[ !#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})'
_KEY: Final = re.compile(PATTERN)


def key_of(request: Request) -> str | None:
    """The key of a request; None if the request has no key.

    Raises
    ------
    HttpError
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise HttpError(
            "malformed-request",
            f"{HEADER} must come once, and be 1 to 255 printable characters of ASCII; send a new UUID for each film",
        )
    return given[0].strip('"')


class FilmsOfKeys:
    """Which film each caller used a key for. Used in one thread.

    Parameters
    ----------
    clock : callable
        Gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._films: OrderedDict[tuple[str, str], tuple[bytes, float]] = OrderedDict()

    def use(self, caller: str, key: str, digest: bytes) -> None:
        """Use a key for a film, by the SHA-256 of its bytes.

        Raises
        ------
        HttpError
            The caller used the key for another film.
        """
        now = self._clock()
        while self._films and now - next(iter(self._films.values()))[1] > KEPT_SECONDS:
            self._films.popitem(last=False)
        known, _ = self._films.setdefault((caller, key), (digest, now))
        if known != digest:
            raise HttpError(
                "idempotency-key-reused",
                f"this {HEADER} was used for another film, and nothing was judged; send a new key with a new film",
            )
        if len(self._films) > MOST_KEYS:
            self._films.popitem(last=False)
