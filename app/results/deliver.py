"""Reports -> a DICOMweb server: at least once, and never twice to be seen.

    outbox -> is it there? (QIDO-RS) -> store it (STOW-RS) -> out of the outbox

An answer that was lost leaves us not knowing, so each attempt looks first. Should the server take a report twice all
the same, both have one SOPInstanceUID, and it shows one.
"""

from __future__ import annotations

import logging
import random
import threading
import uuid
from pathlib import Path
from typing import Final, Literal

import httpx
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from app.metrics import Metrics
from app.pipeline.dicom.metered import read_header
from app.pipeline.errors import MalformedImage
from app.tracing import Trace, here, outgoing, resumed, span

from .outbox import Outbox

log = logging.getLogger("cxr_gate")

FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 300.0
REQUEST_SECONDS: Final = 30.0
#: Statuses that another attempt at the same bytes does not change (PS3.18 section 10.5.3). 409, every instance failed,
#: is one of them unless the reason passes.
PERMANENT: Final = frozenset({400, 409, 413, 415})
_MOST_TRACES: Final = 10_000
_PROCESSING_FAILURE: Final = 0x0110
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

Outcome = Literal["stored", "present", "refused"]


class DeliveryFailed(Exception):
    """This attempt came to nothing; the message holds no identifier. ``retry_after`` is what the server asked for, in s."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


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
            header = read_header(report, _UIDS)
            if not all(header.get(keyword) for keyword in _UIDS):
                raise InvalidDicomError
        except (
            InvalidDicomError,
            MalformedImage,
            EOFError,
            ValueError,
        ):  # a file of another's making, or a disk that fails
            log.error("a file in the outbox is no report")
            return "refused"
        try:
            return "present" if self._has(header) else self._store(report, header)
        except httpx.HTTPError as error:
            raise DeliveryFailed(f"no answer ({type(error).__name__})") from error
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
    asked = answer.headers.get("retry-after", "")
    return DeliveryFailed(f"{service} answered {answer.status_code}", float(asked) if asked.isdigit() else 0.0)


class Delivery:
    """One thread that empties the outbox, for as long as the server needs; ``start`` before use, ``stop`` after."""

    def __init__(self, outbox: Outbox, server: DicomwebServer, metrics: Metrics) -> None:
        self._outbox = outbox
        self._server = server
        self._metrics = metrics
        #: Which request each report is of, by UID; in memory alone, so after a restart it is delivered without.
        self._traces: dict[str, Trace | None] = {}
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier run left."""
        self._work.set()
        self._thread.start()

    def stop(self) -> None:
        """End after the attempt in hand; what waits is kept for the next start."""
        self._stopping.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * REQUEST_SECONDS)
        self._server.close()

    def put(self, uid: str, report: bytes) -> None:
        """Take a report over; when this returns, a crash does not lose it.

        Raises
        ------
        OSError
            It could not be written to the outbox.
        """
        if len(self._traces) < _MOST_TRACES:
            self._traces[uid] = here()
        self._outbox.put(uid, report)
        self._work.set()

    def _run(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            self._work.wait()
            self._work.clear()
            try:
                self._empty()
                wait = FIRST_WAIT_SECONDS
            except (DeliveryFailed, OSError) as error:
                reason = str(error) if isinstance(error, DeliveryFailed) else type(error).__name__
                asked = error.retry_after if isinstance(error, DeliveryFailed) else 0.0
                self._metrics.result_failures.inc()
                log.warning("a report was not delivered and will be tried again", extra={"reason": reason})
                # A new report does not cut the wait short: all go to the same server.
                self._stopping.wait(max(asked, wait * random.uniform(0.5, 1.0)))
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
                self._work.set()

    def _empty(self) -> None:
        while waiting := self._outbox.waiting():
            self._metrics.results_waiting.set(len(waiting))
            for path in waiting:
                if self._stopping.is_set():
                    return
                self._deliver(path)
        self._metrics.results_waiting.set(0)

    def _deliver(self, path: Path) -> None:
        with resumed(self._traces.get(path.stem)), span("deliver", "client"):
            outcome = self._server.deliver(path.read_bytes())
        self._traces.pop(path.stem, None)
        if outcome == "refused":
            self._outbox.refuse(path)
        else:
            self._outbox.done(path)
        self._metrics.results.labels(outcome).inc()
