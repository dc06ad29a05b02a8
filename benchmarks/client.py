"""HTTP/1.1 over plain sockets, for a load generator that must cost little on the cores that it shares with the service."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass


class Lost(Exception):
    """The connection ended before an answer was whole."""


@dataclass(frozen=True)
class Answer:
    """Status and body."""

    status: int
    body: bytes
    keep: bool  # the connection may be used again


class Connection:
    """One keep-alive connection to a loopback port; one request at a time."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._socket: socket.socket | None = None
        self._buffer = bytearray()

    async def _open(self) -> socket.socket:
        opened = socket.socket()
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = opened
        self._buffer.clear()
        await asyncio.get_running_loop().sock_connect(opened, self._address)
        return opened

    def close(self) -> None:
        """Drop the connection, even during a request."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def post(self, head: bytes, body: bytes) -> Answer:
        """Send a request and read its answer, which may come before all is sent.

        Raises
        ------
        Lost
        """
        used = self._socket is not None
        try:
            return await self._exchange(head, body)
        except Lost:
            if not used or self._buffer:
                raise
            # The other side may close an idle connection just when it is used again: that is no fault.
            return await self._exchange(head, body)

    async def _exchange(self, head: bytes, body: bytes) -> Answer:
        try:
            connection = self._socket or await self._open()
            sending = asyncio.ensure_future(self._send(connection, head, body))
            try:
                answer = await self._read(connection)
                finished = sending.done() and sending.exception() is None
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        except OSError as error:
            self.close()
            raise Lost(str(error)) from error
        except BaseException:
            self.close()
            raise
        if not (finished and answer.keep):
            self.close()
        return answer

    async def _send(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, head)
        await loop.sock_sendall(connection, body)

    async def hang_up(self, head: bytes, body: bytes, *, sent: float, after: float) -> None:
        """Send a part of the body (`sent`, of 1), wait `after` seconds, and leave."""
        try:
            await self._send(await self._open(), head, body[: int(len(body) * sent)])
            await asyncio.sleep(after)
        except OSError:
            pass  # the other side left first
        finally:
            self.close()

    async def _more(self, connection: socket.socket) -> None:
        received = await asyncio.get_running_loop().sock_recv(connection, 65536)
        if not received:
            raise Lost("closed by the other side")
        self._buffer += received

    async def _line(self, connection: socket.socket, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            await self._more(connection)
        line = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return line

    async def _exactly(self, connection: socket.socket, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more(connection)
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _read(self, connection: socket.socket) -> Answer:
        start, *lines = (await self._line(connection, b"\r\n\r\n")).split(b"\r\n")
        fields = {name.strip().lower(): value.strip().lower() for name, _, value in (x.partition(b":") for x in lines)}
        status = int(start.split()[1])
        if status == 100:
            return await self._read(connection)
        if fields.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int((await self._line(connection, b"\r\n")).split(b";")[0], 16):
                body += await self._exactly(connection, size)
                await self._exactly(connection, 2)
            await self._exactly(connection, 2)
        else:
            body = await self._exactly(connection, int(fields.get(b"content-length", b"0")))
        return Answer(status, body, fields.get(b"connection") != b"close")
