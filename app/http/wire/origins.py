"""Cross-origin resource sharing (https://fetch.spec.whatwg.org): pages of which other sites may send requests and read answers.

A page names its caller by the key in Authorization, which its own code puts there. The service has no cookies, so no answer
allows credentials: with them a browser would add the credentials that it holds for the service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Headers of answers that a page may read, beside those that any page may read.
EXPOSED: Final = (
    "X-Request-ID",
    "X-Service-Request-ID",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "WWW-Authenticate",
    "Link",
    "X-Exposed-Field",
    "X-Film-Sides",
    "X-Heatmap-Localised",
)
#: Headers that a page may send, beside those that any page may send.
_TAKEN: Final = ("Authorization", "Content-Type", "X-Request-ID", "Idempotency-Key", "traceparent", "tracestate")
_METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
#: How long a browser remembers the answer to a preflight. Chromium takes no more than two hours.
_REMEMBERED_SECONDS: Final = 600


class Origins:
    """The origins whose pages may read answers.

    Parameters
    ----------
    allowed : iterable of str
        As browsers write them: ``https://viewer.example``.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(allowed)

    def __contains__(self, origin: object) -> bool:
        return origin in self._allowed

    def headers(self, origin: str | None) -> dict[str, str]:
        """The headers of every answer to a request with this Origin."""
        if not self._allowed:
            return {}
        vary = {"Vary": "Origin"}  # a cache must not give one origin's answer to another
        if origin not in self._allowed:
            return vary
        return {**vary, "Access-Control-Allow-Origin": str(origin), "Access-Control-Expose-Headers": ", ".join(EXPOSED)}

    def preflight_headers(self) -> dict[str, str]:
        """The further headers of an answer to a preflight, for an origin that is allowed."""
        return {
            "Access-Control-Allow-Methods": ", ".join(_METHODS),
            "Access-Control-Allow-Headers": ", ".join(_TAKEN),
            "Access-Control-Max-Age": str(_REMEMBERED_SECONDS),
        }
