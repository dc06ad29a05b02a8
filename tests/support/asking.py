"""A client of a service on a port of this machine."""

from __future__ import annotations

import socket

import httpx

ANSWER_SECONDS = 60.0


class Asked:
    """What tests ask a service, by HTTP or on a socket of their own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        # A connection is not used again once the service may be about to close it, as it does after 5 s.
        limits = httpx.Limits(keepalive_expiry=2.0)
        self.client = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, limits=limits)

    def post(self, data: bytes, content_type: str | None = "image/png", **headers: str) -> httpx.Response:
        """Post a raw body; None leaves Content-Type out."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type is not None:
            named["Content-Type"] = content_type
        return self.client.post("/v1/score", content=data, headers=named)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
