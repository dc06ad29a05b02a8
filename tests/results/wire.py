"""A wire to an archive that can be cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Wire:
    """Carries connections to a port, and loses the answer to the first `losing` STOW requests after the server gave it."""

    def __init__(self, to: int, losing: int = 0) -> None:
        self._to = to
        self._losing = losing
        self.stored = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/dicom-web"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def _carry(self, caller: socket.socket) -> None:
        """One connection: requests as they come; each answer whole, or the end."""
        with caller, socket.create_connection(("127.0.0.1", self._to)) as server, suppress(OSError):
            storing = False
            threading.Thread(target=self._back, args=(server, caller), daemon=True).start()
            while data := caller.recv(65536):
                if data.startswith(b"POST") and not storing:
                    storing = True
                    self.stored += 1
                server.sendall(data)

    def _back(self, server: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self._losing and self.stored and self.stored <= self._losing:
                    caller.shutdown(socket.SHUT_RDWR)
                    return
                caller.sendall(data)
