"""One request over HTTP, and what its failures mean: to be tried again, or not."""

from __future__ import annotations

import math
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from app.tracing import outgoing

from .errors import Passing

#: An answer may take the service's deadline (30 s by default) and the transfer of a film.
ANSWER_SECONDS: Final = 120.0
CONNECT_SECONDS: Final = 10.0
#: Orthanc closes a connection that was idle for a second; one that is older is not used again.
IDLE_SECONDS: Final = 0.5
#: No other side is waited for longer than this, whatever it asks for.
MOST_RETRY_AFTER_SECONDS: Final = 3600.0
#: May pass by itself, whoever answers: timeout, quota, bad gateway, overloaded or starting, gateway timeout.
PASSING_STATUSES: Final = frozenset({408, 429, 502, 503, 504})


def open_client(base_url: str, **options: Any) -> httpx.AsyncClient:
    """A client of one server.

    Films go where the address says, and nowhere else: no proxy or password is taken from the environment. The
    certificates that are trusted are the system's (``SSL_CERT_FILE`` names others, as OpenSSL has it).
    """
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
        trust_env=False,
        verify=ssl.create_default_context(),
        event_hooks={"request": [_pass_on]},
        **options,
    )


async def _pass_on(request: httpx.Request) -> None:
    """The trace of the film that the request is about."""
    request.headers.update(outgoing())


async def ask(client: httpx.AsyncClient, whom: str, method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request.

    Raises
    ------
    Passing
        No answer, or one of ``PASSING_STATUSES``.
    """
    try:
        response = await client.request(method, path, **options)
    except httpx.RequestError as error:  # its text may hold the path
        raise Passing(f"no answer from {whom} ({type(error).__name__})") from None
    if response.status_code in PASSING_STATUSES:
        raise Passing(
            f"{whom} answered {response.status_code}", parse_retry_after(response.headers.get("retry-after", ""))
        )
    return response


def parse_retry_after(text: str) -> float:
    """Seconds from now of a Retry-After (RFC 9110 section 10.2.3): a number or a date; 0 where it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else 0.0
