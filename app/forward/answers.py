"""One request over HTTP, and what its failures mean: try again, or not."""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpx

from app import bounded
from app.bounded import AnswerTooLarge
from app.tracing import outgoing
from app.waiting import parse_retry_after

from .errors import Fault, Passing, TooLarge

#: An answer may take the service's deadline (30 s by default) and the transfer of a film.
ANSWER_SECONDS: Final = 120.0
#: The limit above holds for each read. A whole answer may take this long; otherwise a server that sends a byte now
#: and then would hold a film's place for ever.
WHOLE_SECONDS: Final = 600.0
#: Bytes of an answer that is no film: a list of a thousand instances has some 50 KB.
MOST_BYTES: Final = 16 * 2**20
CONNECT_SECONDS: Final = 10.0
#: Orthanc closes a connection that was idle for a second; one that is older is not used again.
IDLE_SECONDS: Final = 0.5
#: Statuses that may pass by themselves, whoever answers: timeout, quota, bad gateway, overloaded or starting, gateway timeout.
PASSING_STATUSES: Final = frozenset({408, 429, 502, 503, 504})
#: Errors that say that the other side is away, so the request itself is not at fault.
_AWAY: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def open_client(base_url: str, **options: Any) -> httpx.AsyncClient:
    """A client of one server.

    Films go where the address says, and nowhere else: no proxy or password is taken from the environment. It trusts
    the system's certificates (``SSL_CERT_FILE`` names others, as for OpenSSL).
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


async def ask(
    client: httpx.AsyncClient, whom: str, method: str, path: str, most: int = MOST_BYTES, **options: Any
) -> httpx.Response:
    """Send a request; the answer may be of any status.

    Raises
    ------
    Passing
        Nobody is there.
    Fault
        Somebody is there, but gave no whole answer to this request.
    TooLarge
        The answer has over `most` bytes.
    """
    try:
        return await bounded.ask(client, method, path, most=most, seconds=WHOLE_SECONDS, **options)
    except AnswerTooLarge:
        raise TooLarge(f"the answer from {whom} has over {most:,} bytes") from None
    except _AWAY as error:  # its text may hold the path
        raise Passing(_no_answer(whom, error)) from None
    except httpx.RequestError as error:
        raise Fault(_no_answer(whom, error), "no-answer") from None


def _no_answer(whom: str, error: httpx.RequestError) -> str:
    return f"no answer from {whom} ({type(error).__name__})"


def retry_after(response: httpx.Response) -> float:
    """The seconds that an answer asks to wait; 0 if it asks for none."""
    return parse_retry_after(response.headers.get("retry-after", ""))
