"""Bytes of a connection -> the requests that the service takes from them: however they are cut, and as h11 takes them.

h11 is another parser, and a stricter one: where both find a request, it must be the same one, or somebody in front who
reads as h11 does can be made to see other requests than the service (request smuggling).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import httptools
import uvicorn
from uvicorn.server import ServerState

from app.http.wire.protocol import guarded
from app.metrics import Metrics

Request = tuple[bytes, bytes, bytes]  # method, target, body


def fuzz_connection(data: bytes) -> str:
    """A byte for how the rest is cut, and the rest. Says how many requests there were and how it ended."""
    step, sent = max(1, *data[:1], 1), data[1:]
    cut, whole = ([sent[at : at + step] for at in range(0, len(sent), step)], [sent])
    taken, answers = _LOOP.run_until_complete(_served(cut))
    taken_whole, _ = _LOOP.run_until_complete(_served(whole))
    assert taken == taken_whole
    statuses = re.findall(rb"^HTTP/1\.1 (\d{3}) ", answers, re.MULTILINE)
    assert statuses.count(b"200") == len(taken)
    assert set(statuses) <= {b"100", b"200", b"400"}
    assert b"400" not in statuses[:-1]
    for ours, theirs in zip(taken, _of_h11(sent), strict=False):
        assert ours == theirs
    return f"{min(len(taken), 3)} requests, {'refused' if b'400' in statuses else 'open or closed'}"


class _Transport(asyncio.Transport):
    """What a protocol writes, until it closes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += b"" if self.closed else data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def _served(pieces: list[bytes]) -> tuple[list[Request], bytes]:
    taken: list[Request] = []

    async def application(
        scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        taken.append((scope["method"].encode(), scope["raw_path"] + query, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(application, lifespan="off", ws="none", log_config=None, access_log=False)  # type: ignore[arg-type]
    protocol = _PROTOCOL(config, ServerState(), {}, asyncio.get_running_loop())
    transport = _Transport()
    protocol.connection_made(transport)
    for piece in pieces:
        if transport.closed:
            break
        protocol.data_received(piece)
        await asyncio.sleep(0)
    while protocol.tasks and protocol.cycle.more_body is False:
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks)
    return taken, bytes(transport.written)


def _of_h11(data: bytes) -> list[Request]:
    found: list[Request] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 1)
    connection.receive_data(data)
    try:
        while isinstance(head := connection.next_event(), h11.Request):
            body = b""
            while isinstance(piece := connection.next_event(), h11.Data):
                body += piece.data
            if not isinstance(piece, h11.EndOfMessage):
                break
            found.append((head.method, _path_and_query(head.target), body))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except (h11.ProtocolError, httptools.HttpParserError):
        pass
    return found


def _path_and_query(target: bytes) -> bytes:
    """Of any form of target, but with its fragment, which a server must not drop unseen."""
    url = httptools.parse_url(target)
    fragment = b"#" + url.fragment if url.fragment else b""
    return (url.path or b"") + (b"?" + url.query if url.query else b"") + fragment


_LOOP = asyncio.new_event_loop()
_PROTOCOL = guarded(Metrics())
