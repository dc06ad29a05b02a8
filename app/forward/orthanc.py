"""The forwarder's requests to Orthanc, over its REST interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx

from .answers import PASSING_STATUSES, ask, retry_after
from .errors import Fault, Misconfigured, Passing, TooLarge

#: Changes in one answer.
PAGE: Final = 100
#: Instances in one answer.
LISTED: Final = 1000
NEW_INSTANCE: Final = "NewInstance"
#: Bytes of a film that is fetched, unless another limit is set: four times the service's default limit.
MOST_FILM_BYTES: Final = 256 * 2**20
#: Bytes of the text of one tag.
_MOST_TAG_BYTES: Final = 64 * 2**10
DROPS_QUERIES: Final = "is there a proxy between that drops the query (?since=...) of addresses?"
#: The reason that its faults have.
ORTHANC: Final = "orthanc"


@dataclass(frozen=True)
class Change:
    """One entry of Orthanc's log; `sequence` only grows, even if entries or resources were deleted."""

    sequence: int
    kind: str
    resource: str  # Orthanc's name of it, a hash of identifiers: for requests, never for logs
    date: str = ""  # when, to the second


@dataclass(frozen=True)
class Page:
    """Some changes in order; ``done`` says that there are no more now."""

    changes: tuple[Change, ...]
    done: bool
    last: int


@dataclass(frozen=True)
class Stored:
    """The instance that Orthanc has now: Orthanc's name of it, and whether it is the one that was sent or one "
    "that was there before."""

    instance: str
    new: bool


class Orthanc:
    """Orthanc behind a client; every method may raise Passing, Fault or Misconfigured.

    If Orthanc cannot give one film (its file is lost), that is a Fault of that film. If it fails in another way (its
    disk is full, its database is locked), that concerns no film, and is Passing.

    Parameters
    ----------
    most_film_bytes : int
        The forwarder fetches no film with more.
    """

    def __init__(self, client: httpx.AsyncClient, most_film_bytes: int = MOST_FILM_BYTES) -> None:
        self._client = client
        self._most_film_bytes = most_film_bytes

    async def changes(self, since: int) -> Page:
        """The changes after `since`, at most ``PAGE``."""
        page = await self._page({"since": since, "limit": PAGE})
        before = since
        for change in page.changes:
            if change.sequence <= before:  # following them would lead in a circle
                raise Misconfigured(f"Orthanc gives changes that were not asked for, or not in order; {DROPS_QUERIES}")
            before = change.sequence
        return page

    async def instances(self, offset: int) -> list[str]:
        """Orthanc's names of some instances, at most ``LISTED``, in Orthanc's own order; none if there are no more."""
        return await self._names("GET", "/instances", params={"since": offset, "limit": LISTED})

    async def last_change(self) -> int:
        """The number of the newest change; 0 if there was none."""
        return (await self._page({"since": 2**31 - 1, "limit": 1})).last

    async def modality(self, instance: str) -> str | None:
        """Modality (0008,0060), or None if it is absent or the instance is gone."""
        path = f"/instances/{instance}/content/0008-0060"
        response = await self._ask_of_film("GET", path, (200, 404), most=_MOST_TAG_BYTES)
        return response.text.strip(" \0").upper() if response.status_code == 200 else None

    async def film(self, instance: str) -> bytes | None:
        """The Part 10 file, or None if the instance is gone.

        Raises
        ------
        TooLarge
        """
        path = f"/instances/{instance}/file"
        response = await self._ask_of_film("GET", path, (200, 404), most=self._most_film_bytes)
        return response.content if response.status_code == 200 else None

    async def store(self, report: bytes) -> Stored:
        """Store a Part 10 file. If Orthanc already has one with its SOPInstanceUID, it keeps that one."""
        body = self._json(await self._ask("POST", "/instances", (200,), content=report))
        status = body.get("Status")
        if status not in {"Success", "AlreadyStored"}:
            raise Fault(
                "Orthanc took the report, but did not store it; see its log, and its filters of instances", ORTHANC
            )
        return Stored(str(body.get("ID", "")), new=status == "Success")

    async def reports(self, study: str) -> list[str]:
        """Orthanc's names of the structured reports of a study, some hundred at most, by its StudyInstanceUID."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study, "Modality": "SR"}, "Limit": PAGE}
        return await self._names("POST", "/tools/find", json=query)

    async def _names(self, method: str, path: str, **options: Any) -> list[str]:
        response = await self._ask(method, path, (200,), **options)
        try:
            return [str(name) for name in response.json()]
        except (ValueError, TypeError, RecursionError):
            raise Fault(f"the answer to {path} is not Orthanc's; is --orthanc-url right?", ORTHANC) from None

    async def _page(self, parameters: dict[str, int]) -> Page:
        body = self._json(await self._ask("GET", "/changes", (200,), params=parameters))
        try:
            changes = tuple(
                Change(int(c["Seq"]), str(c["ChangeType"]), str(c["ID"]), str(c.get("Date", "")))
                for c in body["Changes"]
            )
            # An empty page ends the reading, whatever Done says: otherwise the forwarder would ask without a pause.
            return Page(changes, bool(body["Done"]) or not changes, int(body["Last"]))
        except (KeyError, TypeError, ValueError):
            raise Fault("the answer to /changes is not Orthanc's; is --orthanc-url right?", ORTHANC) from None

    async def _ask(self, method: str, path: str, expected: tuple[int, ...], **options: Any) -> httpx.Response:
        try:
            return await self._ask_of_film(method, path, expected, **options)
        except Fault as fault:
            if fault.status == 0 or fault.status >= 500:
                raise Passing(str(fault)) from None
            raise
        except TooLarge as error:
            raise Fault(str(error), ORTHANC) from None

    async def _ask_of_film(self, method: str, path: str, expected: tuple[int, ...], **options: Any) -> httpx.Response:
        response = await ask(self._client, "Orthanc", method, path, **options)
        status = response.status_code
        if status in {401, 403}:
            raise Misconfigured(
                f"Orthanc answered {status}: set --orthanc-user and CXR_FORWARD_ORTHANC_PASSWORD to one of its "
                "RegisteredUsers"
            )
        if status in PASSING_STATUSES:
            raise Passing(f"Orthanc answered {status}", retry_after(response))
        if status not in expected:
            raise Fault(f"Orthanc answered {status}", ORTHANC, status)
        return response

    @staticmethod
    def _json(response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Fault("the answer is not Orthanc's JSON; is --orthanc-url right?", ORTHANC)
        return body
