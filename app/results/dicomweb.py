"""A DICOMweb server that takes reports: is it there? (QIDO-RS) -> store it (STOW-RS).

An answer that was lost leaves us not knowing, so each attempt looks first. Should the server take a report twice all
the same, both have one SOPInstanceUID, and it shows one.
"""

from __future__ import annotations

import io
import logging
import uuid
from typing import Final, Literal

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from app.tracing import outgoing
from app.waiting import parse_retry_after

log = logging.getLogger("cxr_gate")

REQUEST_SECONDS: Final = 30.0
#: Statuses that another attempt at the same bytes does not change (PS3.18 section 10.5.3). 409, every instance failed,
#: is one of them unless the reason passes.
PERMANENT: Final = frozenset({400, 409, 413, 415})
#: What is no matter of one report: wrong credentials or address, quota, a proxy without its server, overloaded.
AWAY: Final = frozenset({401, 403, 404, 429, 502, 503, 504})
_PROCESSING_FAILURE: Final = 0x0110
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

Outcome = Literal["stored", "present", "refused"]


class DeliveryFailed(Exception):
    """This attempt came to nothing; the message holds no identifier.

    Attributes
    ----------
    retry_after : float
        What the server asked for, s.
    away : bool
        By its looks any other report would have failed too.
    """

    def __init__(self, message: str, retry_after: float = 0.0, *, away: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.away = away


class DicomwebServer:
    """A server's QIDO-RS and STOW-RS.

    Parameters
    ----------
    url : str
        Base of its DICOMweb services, as ``http://pacs:8042/dicom-web``.
    user, password : str
        For HTTP basic authentication; none if `user` is empty.
    """

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            auth=(user, password) if user else None,
            timeout=REQUEST_SECONDS,
            event_hooks={"request": [lambda request: request.headers.update(outgoing())]},
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def deliver(self, report: bytes) -> Outcome:
        """Store a report unless the server has it.

        Returns
        -------
        "stored", "present" (it was there already) or "refused" (and always will be)

        Raises
        ------
        DeliveryFailed
            Another attempt may do.
        """
        try:
            header = dcmread(io.BytesIO(report), specific_tags=list(_UIDS))
            if not all(header.get(keyword) for keyword in _UIDS):
                raise InvalidDicomError
        except (InvalidDicomError, EOFError, ValueError):  # a file of another's making, or a disk that fails
            log.error("a file in the outbox is no report")
            return "refused"
        try:
            return "present" if self._has(header) else self._store(report, header)
        except httpx.HTTPError as error:
            away = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise DeliveryFailed(f"no answer ({type(error).__name__})", away=away) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeliveryFailed("the answer is not DICOM JSON") from error

    def _has(self, header: Dataset) -> bool:
        path = f"/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}/instances"
        found = self._client.get(
            path, params={"SOPInstanceUID": header.SOPInstanceUID}, headers={"Accept": "application/dicom+json"}
        )
        if found.status_code == 404:  # of a series that is not there; a wrong path shows when storing
            return False
        if found.status_code == 204:
            return False
        if found.status_code != 200:
            raise _failed("QIDO-RS", found)
        return any(instance["00080018"]["Value"] == [header.SOPInstanceUID] for instance in found.json())

    def _store(self, report: bytes, header: Dataset) -> Outcome:
        boundary = uuid.uuid4().hex
        answer = self._client.post(
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
        if answer.status_code in PERMANENT and not _may_pass(answer):
            log.error("a report was refused by the DICOMweb server", extra={"status": answer.status_code})
            return "refused"
        if answer.status_code not in {200, 202}:
            raise _failed("STOW-RS", answer)
        # ReferencedSOPSequence and ReferencedSOPInstanceUID: what was stored. 202 may mean that nothing was.
        stored = answer.json().get("00081199", {}).get("Value", [])
        if [header.SOPInstanceUID] not in [item["00081155"]["Value"] for item in stored]:
            raise DeliveryFailed(f"STOW-RS answered {answer.status_code}, but did not name the report as stored")
        return "stored"


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
