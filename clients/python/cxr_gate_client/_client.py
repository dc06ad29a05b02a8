"""The two clients. They differ in how they wait; their requests and results are the same."""

from __future__ import annotations

import asyncio
import time
import uuid
from types import TracebackType
from typing import Any, Self

import httpx

from ._answers import Result, accepted, rejected
from ._problems import problem
from ._retries import Retries

#: Wait for an answer; the service's own deadline is 30 s.
ANSWER_SECONDS = 60.0


class _Client:
    def __init__(self, key: str | None, retries: Retries | None) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._retries = retries or Retries()

    def _score(self, film: bytes, request_id: str | None, idempotency_key: str | None) -> dict[str, Any]:
        headers = {
            **self._headers,
            "Accept": "application/json",
            "Content-Type": "application/octet-stream",  # the service detects the format
            "Idempotency-Key": idempotency_key or str(uuid.uuid4()),
        }
        if request_id is not None:
            headers["X-Request-ID"] = request_id
        return {"method": "POST", "url": "/v1/score", "content": film, "headers": headers}


def _result(answer: httpx.Response) -> Result:
    if answer.status_code == 200:
        return accepted(answer.json())
    if answer.status_code == 422:
        return rejected(answer)
    raise problem(answer)


def _body(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise problem(answer)
    body: dict[str, Any] = answer.json()
    return body


class Client(_Client):
    """A client that waits in its thread; a context manager. Several threads may use it.

    Parameters
    ----------
    base_url : str
        Address of the service: ``https://cxr.example``.
    key : str or None
        A key from ``cxr-gate new-key``, or a token of the identity provider.
    retries : Retries or None
        None: the defaults of ``Retries``.
    options
        Options of ``httpx.Client``, such as ``verify`` for the hospital's own authority.
    """

    def __init__(self, base_url: str, key: str | None = None, retries: Retries | None = None, **options: Any) -> None:
        super().__init__(key, retries)
        self._http = httpx.Client(base_url=base_url, **{"timeout": ANSWER_SECONDS, **options})

    def score(self, film: bytes, *, request_id: str | None = None, idempotency_key: str | None = None) -> Result:
        """Have a film judged: PNG, JPEG or DICOM.

        Parameters
        ----------
        film : bytes
        request_id : str, optional
            The service's operator can find the request by it; no identifier of a patient.
        idempotency_key : str, optional
            Set it if another process may send the same film again: the same key gives the same decision.

        Raises
        ------
        Problem
        httpx.TransportError
            No try got an answer.
        """
        return _result(self._ask(**self._score(film, request_id, idempotency_key)))

    def model(self) -> dict[str, Any]:
        """The served model, and its results on held-out films. Raises as ``score``."""
        return _body(self._ask("GET", "/v1/model", headers=self._headers))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, url: str, **sent: Any) -> httpx.Response:
        tried = 0
        while True:
            tried += 1
            try:
                answer = self._http.request(method, url, **sent)
            except httpx.TransportError:
                wait = self._retries.wait(tried, None)
                if wait is None:
                    raise
            else:
                wait = self._retries.wait(tried, answer)
                if wait is None:
                    return answer
            time.sleep(wait)


class AsyncClient(_Client):
    """The same for asyncio: an asynchronous context manager, whose methods are awaited."""

    def __init__(self, base_url: str, key: str | None = None, retries: Retries | None = None, **options: Any) -> None:
        super().__init__(key, retries)
        self._http = httpx.AsyncClient(base_url=base_url, **{"timeout": ANSWER_SECONDS, **options})

    async def score(self, film: bytes, *, request_id: str | None = None, idempotency_key: str | None = None) -> Result:
        """As ``Client.score``."""
        return _result(await self._ask(**self._score(film, request_id, idempotency_key)))

    async def model(self) -> dict[str, Any]:
        """As ``Client.model``."""
        return _body(await self._ask("GET", "/v1/model", headers=self._headers))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, method: str, url: str, **sent: Any) -> httpx.Response:
        tried = 0
        while True:
            tried += 1
            try:
                answer = await self._http.request(method, url, **sent)
            except httpx.TransportError:
                wait = self._retries.wait(tried, None)
                if wait is None:
                    raise
            else:
                wait = self._retries.wait(tried, answer)
                if wait is None:
                    return answer
            await asyncio.sleep(wait)
