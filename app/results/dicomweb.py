"""A DICOMweb server that takes reports: is it there? (QIDO-RS) -> store it (STOW-RS) -> is it what we stored? (WADO-RS)

An answer may be lost, so each attempt first asks whether the server has the report. If the server still takes a
report twice, both have one SOPInstanceUID, and it shows one. The instance under a report's UID is fetched and
compared: if it says something else, the report is stored under another UID beside it. Each answer has a limit of
bytes and of time, so that no server holds the delivery up.
"""

from __future__ import annotations

import asyncio
import email.message
import logging
import ssl
import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from app import bounded
from app.pipeline.dicom.metered import read_header
from app.pipeline.errors import MalformedImage
from app.statements import LARGER, MORE_BYTES, another, says_the_same
from app.tracing import outgoing
from app.waiting import parse_retry_after

from .identity import keyed_uid

log = logging.getLogger("cxr_gate")

#: Seconds for each read of an answer.
REQUEST_SECONDS: Final = 30.0
#: Seconds for a whole answer; otherwise a server that sends a byte now and then would hold the delivery up for ever.
ANSWER_SECONDS: Final = 60.0
#: Bytes of an answer that is no report. The answer to a search for one instance has some hundred.
MOST_BYTES: Final = 2**20
#: Statuses that another attempt at the same bytes does not change (PS3.18 section 10.5.3). 409 (every instance
#: failed) is one of them, unless its reason may pass.
PERMANENT: Final = frozenset({400, 409, 413, 415})
#: Statuses that concern all reports: wrong credentials or address, quota, a proxy without its server, overloaded.
AWAY: Final = frozenset({401, 403, 404, 429, 502, 503, 504})
_PROCESSING_FAILURE: Final = 0x0110
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

Outcome = Literal["stored", "present", "refused"]
#: A report gets no more UIDs than this: somebody who takes them all could also delete it.
MOST_UIDS: Final = 4


@dataclass(frozen=True)
class Delivered:
    """The outcome of a delivery, and the instances under the report's UIDs that say something else."""

    outcome: Outcome
    others: tuple[bytes, ...] = ()


class DeliveryFailed(Exception):
    """This attempt failed; the message holds no identifier.

    Attributes
    ----------
    retry_after : float
        The wait that the server asked for, in seconds.
    away : bool
        Whether any other report would probably have failed too.
    others : tuple of bytes
        The instances under the report's UIDs that say something else.
    """

    def __init__(
        self, message: str, retry_after: float = 0.0, *, away: bool = False, others: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.away = away
        self.others = others


class DicomwebServer:
    """A server's QIDO-RS, STOW-RS and WADO-RS; may be used in any thread that runs no event loop.

    Reports go where the address says, and nowhere else: no proxy or password is taken from the environment. It trusts the
    system's certificates (``SSL_CERT_FILE`` names others).

    Parameters
    ----------
    url : str
        Base of its DICOMweb services, such as ``http://pacs:8042/dicom-web``.
    user, password : str
        For HTTP basic authentication; none if `user` is empty.
    key : bytes
        Of the UIDs of reports (``RecordKey.of_reports``).
    """

    def __init__(self, url: str, user: str = "", password: str = "", *, key: bytes) -> None:
        self._key = key
        self._url = url.rstrip("/")
        self._login = (user, password) if user else None
        self._tls = ssl.create_default_context()

    def deliver(self, report: bytes) -> Delivered:
        """Store a report unless the server has it. If the server has something else under its UID, store it under another one.

        The outcome is "stored", "present" (it was there already) or "refused" (and always will be).

        Raises
        ------
        DeliveryFailed
            Another attempt may succeed.
        """
        try:
            header = _header(report)
        except (InvalidDicomError, MalformedImage, EOFError, ValueError):
            # A file that somebody else wrote, or a disk that fails.
            log.error("a file in the outbox is no report")
            return Delivered("refused")
        return asyncio.run(self._delivered(report, header))

    async def _delivered(self, report: bytes, header: Dataset) -> Delivered:
        others: list[bytes] = []
        try:
            async with httpx.AsyncClient(
                base_url=self._url,
                auth=self._login,
                timeout=REQUEST_SECONDS,
                trust_env=False,
                verify=self._tls,
                headers=outgoing(),
            ) as client:
                for number in range(MOST_UIDS):
                    trying = another(report, *self._uids(header, number)) if number else report
                    done = await _Exchange(client).deliver(trying)
                    if not isinstance(done, bytes):
                        return Delivered(done, tuple(others))
                    others.append(done)
        except httpx.HTTPError as error:
            away = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise DeliveryFailed(f"no answer ({type(error).__name__})", away=away) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DeliveryFailed("the answer is not DICOM JSON") from error
        raise DeliveryFailed(
            f"the server has other reports under {MOST_UIDS} of this report's UIDs", others=tuple(others)
        )

    def _uids(self, header: Dataset, number: int) -> tuple[UID, UID]:
        about = ("another", str(number), header.SOPInstanceUID)
        return keyed_uid(self._key, *about, "series"), keyed_uid(self._key, *about, "instance")


class _Exchange:
    """The requests about one report under one UID."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def deliver(self, report: bytes) -> Outcome | bytes:
        """The outcome, and the bytes of the instance under its UID if that says something else."""
        header = _header(report)
        path = f"/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}/instances"
        if await self._has(path, header.SOPInstanceUID):
            theirs = await self._fetch(f"{path}/{header.SOPInstanceUID}", len(report))
            if theirs is None:
                raise DeliveryFailed("WADO-RS does not give what QIDO-RS names")
            return "present" if says_the_same(report, theirs) else theirs
        answer = await self._post(report)
        # Servers keep the old of two, some without a word, some with 409. One that takes its time to show what it stored is not
        # waited for.
        if answer.status_code in {200, 202, 409}:
            theirs = await self._fetch(f"{path}/{header.SOPInstanceUID}", len(report))
            if theirs is not None:
                return (
                    ("present" if answer.status_code == 409 else "stored") if says_the_same(report, theirs) else theirs
                )
        if answer.status_code == 409 and await self._has("/instances", header.SOPInstanceUID):
            return b""  # it is in another study or series, which somebody chose
        return _outcome(answer, header)

    async def _fetch(self, path: str, ours: int) -> bytes | None:
        """An instance, or the first bytes of one that is far larger than ours; None if there is none."""
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        answer = await self._ask("GET", path, most=LARGER * ours + 2 * MORE_BYTES, cut=True, headers={"Accept": accept})
        if answer.status_code in {404, 406, 410}:
            return None
        if answer.status_code != 200:
            raise _failed("WADO-RS", answer)
        return _first_part(answer.headers.get("content-type", ""), answer.content)

    async def _has(self, path: str, uid: str) -> bool:
        accept = {"Accept": "application/dicom+json"}
        found = await self._ask("GET", path, params={"SOPInstanceUID": uid}, headers=accept)
        if found.status_code in {204, 404}:  # 404: the series does not exist; a wrong path shows when storing
            return False
        if found.status_code != 200:
            raise _failed("QIDO-RS", found)
        return any(instance["00080018"]["Value"] == [uid] for instance in found.json())

    async def _post(self, report: bytes) -> httpx.Response:
        boundary = uuid.uuid4().hex
        return await self._ask(
            "POST",
            "/studies",
            content=(
                f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
                + report
                + f"\r\n--{boundary}--\r\n".encode()
            ),
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Accept": "application/dicom+json",
            },
        )

    async def _ask(
        self, method: str, path: str, *, most: int = MOST_BYTES, cut: bool = False, **options: Any
    ) -> httpx.Response:
        return await bounded.ask(self._client, method, path, most=most, seconds=ANSWER_SECONDS, cut=cut, **options)


def _outcome(answer: httpx.Response, header: Dataset) -> Outcome:
    """The outcome for a report in an answer of STOW-RS."""
    if answer.status_code in PERMANENT and not _may_pass(answer):
        return "refused"
    if answer.status_code not in {200, 202}:
        raise _failed("STOW-RS", answer)
    # ReferencedSOPSequence and ReferencedSOPInstanceUID name the stored instances. 202 may mean that none was stored.
    stored = answer.json().get("00081199", {}).get("Value", [])
    if [header.SOPInstanceUID] not in [item["00081155"]["Value"] for item in stored]:
        raise DeliveryFailed(f"STOW-RS answered {answer.status_code}, but did not name the report as stored")
    return "stored"


def _header(report: bytes) -> Dataset:
    header = read_header(report, _UIDS)
    if not all(header.get(keyword) for keyword in _UIDS):
        raise InvalidDicomError
    return header


def _first_part(kind: str, content: bytes) -> bytes:
    """The first part of an answer in parts (RFC 2046), or the whole answer."""
    message = email.message.Message()
    message["Content-Type"] = kind
    boundary = message.get_boundary()
    if not boundary:
        return content
    part = (b"\r\n" + content).split(f"\r\n--{boundary}".encode())[1:2]
    return part[0].partition(b"\r\n\r\n")[2] if part else b""


def _may_pass(answer: httpx.Response) -> bool:
    """Whether a 409 is for a reason that passes: FailedSOPSequence (0008,1198), FailureReason (0008,1197)."""
    if answer.status_code != 409 or not answer.content:
        return False
    failed = answer.json().get("00081198", {}).get("Value", [])
    reasons = [reason for item in failed for reason in item.get("00081197", {}).get("Value", [])]
    return any(reason == _PROCESSING_FAILURE or reason in _OUT_OF_RESOURCES for reason in reasons)


def _failed(service: str, answer: httpx.Response) -> DeliveryFailed:
    asked = parse_retry_after(answer.headers.get("retry-after", ""))
    return DeliveryFailed(f"{service} answered {answer.status_code}", asked, away=answer.status_code in AWAY)
