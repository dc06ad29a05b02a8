"""One request over HTTP, with limits on the bytes and the seconds of the whole answer.

httpx's own limits are on each read. With these alone, the caller waits without end for an answer that comes a byte now and
then, and reads an answer of gigabytes into memory.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

#: Headers that describe the answer as it came, not its decoded content.
_OF_TRANSFER: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class AnswerTooLarge(httpx.TransportError):
    """The answer has more bytes than it may have."""


class AnswerTooLate(httpx.TransportError):
    """The answer was not whole in time."""


async def ask(
    client: httpx.AsyncClient, method: str, path: str, *, most: int, seconds: float, cut: bool = False, **options: Any
) -> httpx.Response:
    """Send a request and read its answer, of whatever status.

    Parameters
    ----------
    most : int
        Bytes of the answer's body.
    seconds : float
        From the request's beginning to the answer's end.
    cut : bool
        True: cut a longer answer. Return its first bytes, a few more than `most`, and read no further.
    options
        Options of ``httpx.AsyncClient.stream``.

    Raises
    ------
    httpx.RequestError
        ``AnswerTooLarge`` and ``AnswerTooLate`` among others.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(seconds), client.stream(method, path, **options) as answer:
            declared = answer.headers.get("content-length", "")
            if not cut and declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
                raise AnswerTooLarge(f"over {most:,} bytes")
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > most:
                    if cut:
                        break
                    raise AnswerTooLarge(f"over {most:,} bytes")
    except TimeoutError:
        raise AnswerTooLate(f"not whole within {seconds:g} s") from None
    headers = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in _OF_TRANSFER]
    return httpx.Response(answer.status_code, headers=headers, content=bytes(content), request=answer.request)
