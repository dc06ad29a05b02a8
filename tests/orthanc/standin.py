"""A service that answers as it is told, for faults that the real one shows seldom; its socket is real."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, generate_uid

from tests.support.answering import Handler, answering
from tests.support.films import part10


@dataclass(frozen=True)
class Answer:
    """One answer; status 0 closes the connection without any."""

    status: int = 200
    body: bytes | None = None  # None: the film's report
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/dicom"})
    delay_seconds: float = 0.0


#: From (PatientID of the film, how often it was asked for before) to the answer.
Script = Callable[[str, int], Answer]


def problem(status: int, slug: str, **headers: str) -> Answer:
    body = f'{{"type": "/problems/{slug}"}}'.encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/problem+json"} | named)


def report_on(film: Dataset) -> bytes:
    """The least that Orthanc keeps: a report of the same study, with a UID made from the film's."""
    report = Dataset()
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    report.SOPInstanceUID = generate_uid(entropy_srcs=["report", film.SOPInstanceUID])
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    report.SeriesInstanceUID = generate_uid(entropy_srcs=["series", film.SOPInstanceUID])
    report.StudyInstanceUID, report.PatientID, report.Modality = film.StudyInstanceUID, film.PatientID, "SR"
    return part10(report)


class StandIn:
    """What was asked, and when (``time.monotonic()``), by PatientID."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: dict[str, list[float]] = {}
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        film = dcmread(io.BytesIO(body))
        with self.lock:
            times = self.asked.setdefault(film.PatientID, [])
            times.append(time.monotonic())
            self.headers.append(headers)
            answer = self.script(film.PatientID, len(times) - 1)
        time.sleep(answer.delay_seconds)
        return answer if answer.body is not None else Answer(answer.status, report_on(film), answer.headers)


@contextmanager
def stand_in(script: Script) -> Iterator[StandIn]:
    made = StandIn(script)

    class Asked(Handler):
        def post(self) -> None:
            answer = made.answer(self.body(), {name.lower(): value for name, value in self.headers.items()})
            if not answer.status:
                self.close_connection = True
                return
            assert answer.body is not None
            self.answer(answer.status, answer.body, answer.headers)

    with answering(Asked) as made.url:
        yield made
