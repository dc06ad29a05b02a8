"""multipart/related -> parts, as the bytes arrive (RFC 2387; RFC 2046 section 5.1), in memory and under limits.

python-multipart, which reads the forms, was tried first. It refuses a preamble, and lines that end with LF alone, but PACS
send both. The first boundary line sets the line ending of the whole body, because a film's last byte may well be a CR.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

#: Limit of a part's headers; senders write some hundred bytes.
MAX_HEADER_BYTES: Final = 8 * 1024
#: Blanks that a sender may leave between a boundary and the end of its line.
MAX_PADDING_BYTES: Final = 64
#: Bytes that are kept of a part over the limit: its identifiers stand in the first bytes, well before the pixels.
KEPT_OF_TOO_LARGE_BYTES: Final = 256 * 1024

#: RFC 2046 section 5.1.1 allows 1 to 70 of these characters, the last of them no space; but Orthanc writes 73.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*:(.*)", re.DOTALL)


class MalformedMultipart(Exception):
    """Not a multipart body; the message says what is wrong and repeats nothing of the body."""


class TooManyParts(Exception):
    """More parts than the limit."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes
    ----------
    headers : mapping
        Names in lower case.
    body : bytes
    too_large : bool
        The part was over the limit, and `body` is only its beginning.
    """

    headers: Mapping[str, str]
    body: bytes
    too_large: bool = False


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


class RelatedParser:
    """Takes bytes in pieces of any size; the parts do not depend on where the pieces are cut.

    Parameters
    ----------
    boundary : bytes
        As the Content-Type names it, without the two hyphens.
    max_part_bytes : int
        A longer part is read and dropped, and given with ``too_large``: it must not fail its neighbours.

    Raises
    ------
    MalformedMultipart
        A boundary that the standard forbids.
    """

    def __init__(self, boundary: bytes, *, max_parts: int, max_part_bytes: int) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedMultipart("the boundary is absent, too long, or of other characters than RFC 2046 allows")
        self._delimiter = b"--" + boundary
        self._max_parts = max_parts
        self._max_part_bytes = max_part_bytes
        self._buffer = bytearray()
        self._state = _State.PREAMBLE
        self._at_start = True  # whether the buffer's first byte is the body's first
        self._searched = 0  # no delimiter begins before this index of the buffer
        self._newline = b""
        self._count = 0
        self._headers: Mapping[str, str] = {}
        self._beginning: bytes | None = None  # of a part that turned out too large

    def feed(self, data: bytes) -> list[Part]:
        """Take the next bytes and give the parts that they complete.

        Raises
        ------
        MalformedMultipart, TooManyParts
        """
        self._buffer += data
        parts: list[Part] = []
        while self._advance(parts):
            pass
        return parts

    def close(self) -> None:
        """End the body: no more bytes come.

        Raises
        ------
        MalformedMultipart
            The closing boundary has not been seen: the body was cut short.
        """
        if self._state is _State.PREAMBLE:
            raise MalformedMultipart("no line of the body is the boundary that Content-Type names")
        if self._state is not _State.EPILOGUE:
            raise MalformedMultipart("the body ends before its closing boundary; it was cut short, so send it again")

    def _advance(self, parts: list[Part]) -> bool:
        """Make one step; False if it needs more bytes."""
        match self._state:
            case _State.PREAMBLE:
                return self._skip_preamble()
            case _State.HEADERS:
                return self._read_headers()
            case _State.BODY:
                return self._read_body(parts)
            case _State.EPILOGUE:
                self._buffer.clear()
                return False

    def _skip_preamble(self) -> bool:
        while (at := self._buffer.find(self._delimiter, self._searched)) >= 0:
            if (at == 0 and self._at_start) or (at > 0 and self._buffer[at - 1] == 0x0A):
                end = self._end_of_line(at + len(self._delimiter))
                if end is None:
                    self._forget(at - 1)
                    return False
                if end:
                    self._newline = b"\r\n" if self._buffer[:end].endswith(b"\r\n") else b"\n"
                    self._open_or_close(end)
                    return True
            self._searched = at + 1
        self._forget(len(self._buffer) - len(self._delimiter))
        return False

    def _forget(self, before: int) -> None:
        """Drop the preamble before an index; callers keep one more byte to see a line begin."""
        if before > 0:
            del self._buffer[:before]
            self._at_start = False
        self._searched = 0

    def _read_headers(self) -> bool:
        newline = self._newline
        if self._buffer.startswith(newline):
            end = 0
        elif newline.startswith(bytes(self._buffer)):
            return False
        elif (end := self._buffer.find(newline * 2)) < 0:
            if len(self._buffer) > MAX_HEADER_BYTES + 2 * len(newline):
                raise MalformedMultipart("a part's headers are too long, or not ended by an empty line")
            return False
        if end > MAX_HEADER_BYTES:
            raise MalformedMultipart("a part's headers are too long, or not ended by an empty line")
        self._headers = _parse_headers(bytes(self._buffer[:end]), newline)
        # The end of the empty line stays in the buffer: for an empty part it is also the line end before the next boundary.
        del self._buffer[: end + len(newline) if end else 0]
        self._state, self._searched, self._beginning = _State.BODY, 0, None
        return True

    def _read_body(self, parts: list[Part]) -> bool:
        mark = self._newline + self._delimiter
        while (at := self._buffer.find(mark, self._searched)) >= 0:
            end = self._end_of_line(at + len(mark))
            if end is None:
                self._searched = at
                return False
            if end:
                parts.append(self._part(at))
                self._open_or_close(end)
                return True
            self._searched = at + 1
        self._searched = max(self._searched, len(self._buffer) - len(mark) + 1)
        if self._beginning is not None or self._searched > len(self._newline) + self._max_part_bytes:
            if self._beginning is None:
                self._beginning = self._cut(self._searched)
            del self._buffer[: self._searched]
            self._searched = 0
        return False

    def _part(self, end: int) -> Part:
        if self._beginning is not None:
            return Part(self._headers, self._beginning, too_large=True)
        if end - len(self._newline) > self._max_part_bytes:
            return Part(self._headers, self._cut(end), too_large=True)
        return Part(self._headers, bytes(memoryview(self._buffer)[len(self._newline) : end]))

    def _cut(self, end: int) -> bytes:
        start = len(self._newline)
        return bytes(self._buffer[start : min(end, start + min(self._max_part_bytes, KEPT_OF_TOO_LARGE_BYTES))])

    def _end_of_line(self, start: int) -> int | None:
        """Index after the boundary's line, or after its closing hyphens; 0 if it is no boundary; None if not yet known."""
        if self._buffer.startswith(b"--", start):
            return start + 2
        at = start
        while at < len(self._buffer) and self._buffer[at] in b" \t" and at - start < MAX_PADDING_BYTES:
            at += 1
        rest = bytes(self._buffer[at : at + 2])
        for newline in [self._newline] if self._newline else [b"\r\n", b"\n"]:
            if rest.startswith(newline):
                return at + len(newline)
        unfinished = rest in {b"", b"\r"} or (rest == b"-" and at == start)
        return None if unfinished and at + len(rest) == len(self._buffer) else 0

    def _open_or_close(self, end: int) -> None:
        closing = self._buffer[:end].endswith(b"--")
        if closing and not self._count:
            raise MalformedMultipart("the body has no part; send at least one instance")
        del self._buffer[:end]
        self._state = _State.EPILOGUE if closing else _State.HEADERS
        if not closing:
            self._count += 1
            if self._count > self._max_parts:
                raise TooManyParts(f"the body has more than {self._max_parts} parts; send fewer in one request")


def _parse_headers(block: bytes, newline: bytes) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    unfolded = re.sub(re.escape(newline) + rb"[ \t]+", b" ", block)
    for line in unfolded.split(newline) if block else []:
        if not (found := _HEADER.fullmatch(line)):
            raise MalformedMultipart("a part has a header line without a name and a colon")
        name = found[1].decode("ascii").lower()
        if name in headers:
            raise MalformedMultipart("a part names one header twice")
        headers[name] = found[2].strip().decode("latin-1")
    return headers
