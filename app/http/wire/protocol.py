"""HTTP/1.1 as uvicorn reads it with httptools, with limits that both lack: on the bytes and the time of a head, and on the time
in which answers are read.

The parser, llhttp, refuses requests that proxies and servers read differently (two lengths, a length beside chunks, bare line
feeds, folded lines). But it holds a header of any size, and a connection that sends nothing stays open for ever.
tests/http/test_hostile_http.py shows what else this module corrects.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from typing import Any, Final

import httptools
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.metrics import CutReason, Metrics

from ..problems import MEDIA_TYPE, problem_body
from .origins import Origins

#: Limit of the request line with all headers, and again of what chunks have beside data. Proxies send some kilobytes.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 200
#: Time until a head is whole, from the connection's or the head's first byte on. A slower connection is closed unanswered.
HEAD_SECONDS: Final = 20.0
#: Seconds for the caller to read an answer, and a second more for each READ_BYTES_A_SECOND of it: the film of a
#: reviewer with a slow line is some megabytes. A slower caller is cut off.
READ_SECONDS: Final = 30.0
READ_BYTES_A_SECOND: Final = 64 * 1024

log = logging.getLogger("cxr_gate")


class _HeadTooLarge(Exception):
    """More bytes or lines than the limit."""


class _Ambiguous(Exception):
    """A head that llhttp accepts, and that other software may read in another way."""


def guarded(metrics: Metrics, origins: Origins | None = None) -> type[GuardedProtocol]:
    """The protocol class for a server, which makes one for each connection. `metrics` counts the connections that are cut off.

    Pages of `origins` may read the answers to malformed requests. The application answers all other requests.
    """

    class Counting(GuardedProtocol):
        cut = metrics.connections_cut
        sharing = origins or Origins()

    return Counting


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes
    ----------
    cut : Counter
        Counts the connections that the service ended, by reason.
    sharing : Origins
    """

    cut: Counter
    sharing: Origins

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.url = b""
        self._in_head = True
        self._head_bytes = self._head_lines = 0
        self._body_came = False
        self._bytes_without_body = 0  # after the head: chunk extensions and trailers
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._read_by: float | None = None  # in the loop's time; None: nothing waits for the caller
        self._asks_for_upgrade = False
        self._spoilt = False  # later bytes are no request
        # The request that is being answered; with several in a row, uvicorn's `cycle` is the last one.
        self._begun: RequestResponseCycle | None = None

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head, and to check that answers are read."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait_for_head()
        self._read_timer = self.loop.call_later(READ_SECONDS, self._look_at_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and notify the request that is being answered.

        uvicorn notifies only the last request of a row; the one that is being answered would write on and fail.
        """
        self._stop_waiting()
        if self._read_timer is not None:
            self._read_timer.cancel()
        if self._begun is not None and not self._begun.response_complete:
            self._begun.disconnected = True
            self._begun.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self._spoilt:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_bytes += len(data)
            self._wait_for_head()
        self._body_came = False
        try:
            self._feed(data)
            self._bytes_without_body = 0 if self._in_head or self._body_came else self._bytes_without_body + len(data)
            if max(self._head_bytes if self._in_head else 0, self._bytes_without_body) > MAX_HEAD_BYTES:
                raise _HeadTooLarge
        except (httptools.HttpParserError, _HeadTooLarge) as error:
            too_large = isinstance(error, _HeadTooLarge) or isinstance(error.__context__, _HeadTooLarge)
            self._count("too-large" if too_large else self._place())
            self._refuse(
                f"the head of the request, or what its chunks have beside data, is over {MAX_HEAD_BYTES:,} bytes or "
                f"{MAX_HEADERS} lines"
                if too_large
                else "the request is not HTTP/1.1, or could be read in more than one way; check its lines and its length"
            )

    def pause_writing(self) -> None:
        """Set the time by which the caller must have read the answer so far; much of it is unread."""
        super().pause_writing()
        self._set_read_by()

    def resume_writing(self) -> None:
        """Lift that time: the caller has read most of the answer."""
        super().resume_writing()
        self._read_by = None

    def _feed(self, data: bytes) -> None:
        """Parse. If a head asks for another protocol, parse it again without its Upgrade header.

        There is no other protocol here, and the request is answered all the same (RFC 9110 section 7.8). But httptools would
        read no body of such a request, and Java's client asks for HTTP/2 with every POST.
        """
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            self._asks_for_upgrade = False
            method, version = self.parser.get_method(), self.parser.get_http_version()
            lines = [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
            head = b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version.encode(), b"".join(lines))
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)

    # What the parser finds.

    def on_message_begin(self) -> None:
        """Begin a head. Bytes that came together with the end of the message before are not counted."""
        super().on_message_begin()
        self._in_head, self._head_lines = True, 0
        self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers are dropped: RFC 9110 section 6.5.1 forbids treating them as headers."""
        self._head_lines += 1
        if self._head_lines > MAX_HEADERS:
            raise _HeadTooLarge
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, if there is only one way to read it.

        Raises
        ------
        _Ambiguous
            Another version, a fragment in the target, no Host or several (RFC 9112 section 3.2), or a coding other than
            chunked (section 6.1).
        """
        version = self.parser.get_http_version()
        hosts = [value for name, value in self.headers if name == b"host"]
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if (
            not self._request_line_is_good()
            or (version == "1.1" and len(hosts) != 1)
            or (codings and (codings != [b"chunked"] or version == "1.0"))
        ):
            raise _Ambiguous
        if self.parser.should_upgrade():
            self._asks_for_upgrade = True
            return
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect a head again."""
        if self._asks_for_upgrade:
            return
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._begun = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Close if the request's body has not been read to its end, since it might never end."""
        if not self.pipeline and self.cycle.more_body:
            self._spoilt = True
            self.transport.close()
        super().on_response_complete()

    # What ends it.

    def _count(self, reason: CutReason) -> None:
        self.cut.labels(reason).inc()

    def _place(self) -> CutReason:
        """Where the parser stopped, by this object's state: llhttp's error texts are many, and change with its version."""
        if not self._in_head:
            return "body"
        return "headers" if self._request_line_is_good() else "request-line"

    def _request_line_is_good(self) -> bool:
        if not self.url:
            return False
        method, version = self.parser.get_method(), self.parser.get_http_version()
        return version in {"1.0", "1.1"} and method != b"CONNECT" and b"#" not in self.url

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._answering():
            self._wait_for_head()  # the service itself does not read on
        elif not self.transport.is_closing():
            self._count("late")
            log.info("a connection was closed: no whole head within its time")
            self.transport.close()

    def _set_read_by(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._read_by = self.loop.time() + READ_SECONDS + unread / READ_BYTES_A_SECOND

    def _look_at_reader(self) -> None:
        # After a close, the rest may be too small for a call of pause_writing, and would be kept for ever.
        if self._read_by is None and self.transport.is_closing():
            self._set_read_by()
        if self._read_by is None:
            self._read_timer = self.loop.call_later(READ_SECONDS, self._look_at_reader)
        elif self._read_by > self.loop.time():
            self._read_timer = self.loop.call_at(self._read_by, self._look_at_reader)
        else:
            self._count("unread")
            log.info("a connection was closed: its answers were not read within their time")
            self.transport.abort()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_after_answers(self) -> None:
        """Answer the requests before, and close."""
        self._spoilt = True
        self._stop_waiting()
        if self._answering():
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, detail: str) -> None:
        # The malformed request is the last of a row, and not begun: it is dropped, and the whole ones before it are answered.
        if self.pipeline and self._begun is not None and not self._in_head:
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._begun
            self._end_after_answers()
            return
        if self._answering() and self._in_head:  # whole requests came before the malformed one
            self._end_after_answers()
            return
        self._spoilt = True
        request_id = uuid.uuid4().hex
        log.info("a connection was closed: what came is no request", extra={"request_id": request_id})
        if not self._answering() or (not self.pipeline and not self.cycle.response_started):
            # The headers that were read so far; None before the first head.
            origins = [value.decode("latin-1") for name, value in self.headers or () if name == b"origin"]
            named = self.sharing.headers(origins[0] if len(origins) == 1 else None)
            self.transport.write(_answer(detail, {"X-Request-ID": request_id, **named}))
        self.transport.close()


def _answer(detail: str, headers: dict[str, str]) -> bytes:
    body = json.dumps(problem_body("malformed-request", detail, headers["X-Request-ID"])).encode()
    head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return (head + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode() + body
