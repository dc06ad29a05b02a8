"""The forwarder between an Orthanc and a service of the bundle that is served, and what reports say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import httpx
from pydicom.dataset import Dataset

from app.results.codes import ACCEPTED, REJECTED
from tests.support.asking import ANSWER_SECONDS
from tests.support.orthanc import PASSWORD, USER, Orthanc
from tests.support.processes import ROOT, Process, clean_environment, command
from tests.support.served import Served
from tests.support.waiting import eventually

SERVICE_START_SECONDS = 240.0  # while films are sent, and others start


def film_of(report: Dataset) -> str:
    """SOPInstanceUID of the film that a report is about."""
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (film,) = series.ReferencedSOPSequence
    return str(film.ReferencedSOPInstanceUID)


def says_accepted(report: Dataset) -> bool:
    """Its verdict, by the code of ``app/results/codes.py``."""
    text = json.dumps(report.to_json_dict())
    said = {value: f'"{code.value}"' in text for value, code in ((True, ACCEPTED), (False, REJECTED))}
    assert said[True] is not said[False]
    return said[True]


class Service(Served):
    """``cxr-gate serve`` of the bundle that is served."""

    @classmethod
    def kept_in(cls, folder: Path, **settings: str) -> Self:
        """Its record outlives it: the UIDs of reports are made under its key."""
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "CXR_RECORD_URL": f"sqlite:///{folder / 'record.sqlite'}",
            "CXR_RECORD_KEY_FILE": str(folder / "record.key"),
        }
        return cls.of(ROOT / "artifacts" / "default", folder / "service.log", **{**record, **settings})

    def await_ready(self, seconds: float = SERVICE_START_SECONDS) -> None:
        super().await_ready(seconds)

    def status(self, film: bytes) -> int:
        """What it answers to a film, as JSON."""
        headers = {"Content-Type": "application/dicom"}
        return httpx.post(f"{self.url}/v1/score", content=film, headers=headers, timeout=ANSWER_SECONDS).status_code


class Forwarder(Process):
    """``cxr-gate forward`` from this Orthanc to that service."""

    def __init__(self, folder: Path, orthanc: Orthanc, service_url: str, *options: str, **environment: str) -> None:
        self.state = folder / "forward.json"
        folder.mkdir(parents=True, exist_ok=True)
        arguments = command(
            *("forward", "--state", str(self.state), "--orthanc-url", orthanc.url, "--orthanc-user", USER),
            *("--service-url", service_url, "--poll-seconds", "0.2", *options),
        )
        secret = {"CXR_FORWARD_ORTHANC_PASSWORD": PASSWORD}
        super().__init__(arguments, folder / "forward.log", clean_environment(secret | environment))
        self.orthanc = orthanc

    def checkpoint(self) -> int:
        return int(json.loads(self.state.read_text())["last_change"]) if self.state.exists() else -1

    def caught_up(self) -> bool:
        """Whether the checkpoint is at Orthanc's newest change (reports are changes too)."""
        assert self.process.poll() is None, self.logged()
        return self.checkpoint() == self.orthanc.last_change()

    def await_caught_up(self, seconds: float = 60) -> None:
        eventually(self.caught_up, seconds, self.logged)

    def events(self, message: str) -> list[dict[str, Any]]:
        """Lines of its log with this message."""
        lines = [json.loads(line) for line in self.logged().splitlines() if line.startswith("{")]
        return [line for line in lines if line["message"] == message]
