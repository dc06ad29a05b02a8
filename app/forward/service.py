"""The forwarder's request to the service: a report for a film."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import httpx

from .answers import PASSING_STATUSES, ask, retry_after
from .errors import Fault, Misconfigured, Passing, TooLarge

DICOM: Final = "application/dicom"
#: Statuses of a film that will never be scored: malformed or unsuitable, too large, of a syntax that is not read.
REFUSALS: Final = frozenset({400, 413, 415})
#: The problem of status 403 for a film that will not be scored, now or later, though the key is right.
REFUSED_SEQUENCE: Final = "query-sequence"
#: The problem of status 403 for a key that is known but lacks the scope.
WITHOUT_SCOPE: Final = "forbidden"
#: Statuses and problems that may pass, but may concern this film alone: it took too long, its decoder or the device
#: failed on it, or it is rejected and cannot be kept.
_OF_FILM: Final = frozenset({408, 504})
_PROBLEMS_OF_FILM: Final = frozenset({"decoding-unavailable", "inference-failed", "quarantine-unavailable"})


@dataclass(frozen=True)
class Report:
    """A DICOM SR as a Part 10 file; a rejected film has one too, which says that there is no result."""

    content: bytes
    accepted: bool


@dataclass(frozen=True)
class Refusal:
    """The service cannot score this film, now or later. ``reason`` is the problem's name, ``unnamed`` if it has none."""

    status: int
    reason: str
    request_id: str


class Service:
    """``POST /v1/score`` behind a client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def score(self, film: bytes) -> Report | Refusal:
        """Ask for the report on a film.

        Raises
        ------
        Passing, Fault, Misconfigured
        """
        headers = {"Content-Type": DICOM, "Accept": DICOM}
        try:
            response = await ask(self._client, "the service", "POST", "/v1/score", content=film, headers=headers)
        except TooLarge as error:
            raise Fault(str(error), "no-answer") from None
        status = response.status_code
        if status in {200, 422}:
            if _media_type(response) != DICOM:
                raise Misconfigured(
                    f"the service answered {status} without a DICOM report: it is too old for this forwarder, or "
                    "--service-url is not its address"
                )
            return Report(response.content, accepted=status == 200)
        reason, request_id = _reason(response), _request_id(response)
        if status in REFUSALS or (status == 403 and reason == REFUSED_SEQUENCE):
            return Refusal(status, reason, request_id)
        if status == 403 and reason != WITHOUT_SCOPE:  # from a proxy in between, and perhaps only for this film
            raise Fault("403 from another than the service, or for a reason that is new", reason, status, request_id)
        if status in {401, 403}:
            raise Misconfigured(
                f"the service answered {status}: set CXR_FORWARD_SERVICE_TOKEN to a key with the scope score (cxr-gate new-key)"
            )
        if status in PASSING_STATUSES:
            told, wait = f"the service answered {status}", retry_after(response)
            if status in _OF_FILM or reason in _PROBLEMS_OF_FILM:
                raise Fault(told, reason, status, request_id, wait)
            raise Passing(told, wait)
        if status >= 500:
            raise Fault(f"the service answered {status} (request_id {request_id})", reason, status, request_id)
        raise Misconfigured(f"the service answered {status}, which it never does here; is --service-url right?")


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).split(";")[0].strip().lower()


def _reason(response: httpx.Response) -> str:
    """The slug of a problem. Nothing else of a stranger's answer is repeated in a log."""
    try:
        found = re.fullmatch(r"/problems/([a-z-]{1,60})", response.json()["type"])
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    return found[1] if found else "unnamed"


def _request_id(response: httpx.Response) -> str:
    value = str(response.headers.get("x-request-id", ""))
    return value if re.fullmatch(r"[0-9a-f]{32}", value) else "none"
