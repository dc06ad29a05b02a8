"""A real Orthanc with the configuration of ``deploy/orthanc``, the forwarder beside it, and DCMTK that sends to it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.results.codes import ACCEPTED, REJECTED
from tests.http.served import ANSWER_SECONDS, ROOT, clean_environment, command

CONFIGURATION = ROOT / "deploy" / "orthanc" / "orthanc.json"
USER, PASSWORD = "forwarder", "a password of the tests"
START_SECONDS = 60.0
SERVICE_START_SECONDS = 240.0  # while films are sent, and others start


def tool(name: str) -> str:
    """Path of a program of Debian's packages, which CI must have."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        pytest.fail(f"{name} is not installed; scripts/debian-packages.txt lists what the tests need")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], bool], seconds: float, what: Callable[[], object] = lambda: "") -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what()}"
        time.sleep(0.1)


class Process:
    """A program that can be started, ended or killed, and started again."""

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
        self.arguments = arguments
        self.log = log
        self.environment = environment
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as sink:
            self.running = subprocess.Popen(
                self.arguments, cwd=ROOT, env=self.environment, stdout=sink, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """kill -9."""
        assert self.running is not None
        self.running.kill()
        self.running.wait(timeout=20)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; returns the exit code."""
        assert self.running is not None, "it was never started"
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)
            try:
                self.running.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"did not end within {seconds} s of SIGTERM:\n{self.logged()}") from None
        return int(self.running.returncode)

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Orthanc(Process):
    """An Orthanc in a folder of its own."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.folder = folder
        self.http_port, self.dicom_port = free_port(), free_port()
        configuration = json.loads(CONFIGURATION.read_text())
        configuration |= {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "RemoteAccessAllowed": False,
            **changed,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        super().__init__(
            [tool("Orthanc"), str(folder / "orthanc.json")],
            folder / "orthanc.log",
            {**os.environ, "ORTHANC_PASSWORD": PASSWORD},
        )
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.client = httpx.Client(
            base_url=self.url, auth=(USER, PASSWORD), timeout=30, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def start(self) -> None:
        super().start()
        eventually(self._answers, START_SECONDS, self.logged)

    def _answers(self) -> bool:
        assert self.running is not None
        assert self.running.poll() is None, self.logged()
        try:
            return self.client.get("/system").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        response = self.client.get(path, params=parameters, headers={"Accept": "application/json"})
        assert response.status_code == 200, response.text
        return response.json()

    def send(self, program: str, *arguments: str | Path) -> None:
        """C-STORE with ``dcmsend``, which negotiates the transfer syntax, or ``storescu``, which must be told it."""
        sent = subprocess.run(
            [tool(program), "127.0.0.1", str(self.dicom_port), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert sent.returncode == 0, sent.stderr

    def upload(self, *parts: bytes) -> None:
        for part in parts:
            assert self.client.post("/instances", content=part).status_code == 200

    def last_change(self) -> int:
        return int(self.get("/changes", since=str(2**31 - 1))["Last"])

    def reports(self) -> list[Dataset]:
        """Every SR, found by QIDO-RS study by study and read whole; no two may be one."""
        found = []
        for study in _values(self.get("/dicom-web/studies"), "0020000D"):
            for uid in _values(self.get(f"/dicom-web/studies/{study}/instances", Modality="SR"), "00080018"):
                (instance,) = self.client.post("/tools/lookup", content=uid).json()
                report = dcmread(io.BytesIO(self.client.get(f"/instances/{instance['ID']}/file").content))
                assert report.StudyInstanceUID == study
                found.append(report)
        return found


def _values(found: list[dict[str, Any]], tag: str) -> list[str]:
    return [item[tag]["Value"][0] for item in found]


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


class Service(Process):
    """``cxr-gate serve`` on a port that stays the same when it is started again."""

    def __init__(self, folder: Path, bundle: Path = ROOT / "artifacts" / "default", **settings: str) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        arguments = command("serve", "--bundle", str(bundle), "--port", str(self.port), "--device", "cpu")
        # A record that outlives it: the UIDs of reports are made under its key.
        record = {
            "CXR_RECORD_URL": f"sqlite:///{folder / 'record.sqlite'}",
            "CXR_RECORD_KEY_FILE": str(folder / "record.key"),
        }
        super().__init__(arguments, folder / "service.log", clean_environment(record | settings))
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start it, and do not wait."""
        super().start()

    def await_ready(self) -> None:
        eventually(self.ready, SERVICE_START_SECONDS, self.logged)

    def ready(self) -> bool:
        assert self.running is not None
        assert self.running.poll() is None, self.logged()
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

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
        assert self.running is not None
        assert self.running.poll() is None, self.logged()
        return self.checkpoint() == self.orthanc.last_change()

    def await_caught_up(self, seconds: float = 60) -> None:
        eventually(self.caught_up, seconds, self.logged)

    def events(self, message: str) -> list[dict[str, Any]]:
        """Lines of its log with this message."""
        lines = [json.loads(line) for line in self.logged().splitlines() if line.startswith("{")]
        return [line for line in lines if line["message"] == message]


@contextmanager
def running(process: Process) -> Iterator[None]:
    """Start it, and end it with the block."""
    try:
        process.start()
        yield
    finally:
        process.stop()
