"""A real Orthanc with its DICOMweb plugin, on loopback, in a folder of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.support.processes import ROOT, Process, free_port, tool

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
#: The user is the one of ``deploy/orthanc``.
USER, PASSWORD = "forwarder", "a password of the tests"
START_SECONDS = 60.0


class Orthanc(Process):
    """Started again in the same folder, it has what it had."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any], port: int | None = None) -> None:
        if not PLUGIN.exists():
            pytest.fail("Orthanc's DICOMweb plugin is not installed; scripts/debian-packages.sh installs it")
        self.folder = folder
        self.http_port, self.dicom_port = port or free_port(), free_port()
        given = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "RemoteAccessAllowed": False,
        }
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "orthanc.json"
        file.write_text(json.dumps({**configuration, **given}))
        super().__init__(
            [tool("Orthanc"), str(file)], folder / "orthanc.log", {**os.environ, "ORTHANC_PASSWORD": PASSWORD}
        )
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.dicom_web = f"{self.url}/dicom-web"
        self.client = httpx.Client(
            base_url=self.url, auth=(USER, PASSWORD), timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
        )

    @classmethod
    def deployed(cls, folder: Path, **changed: Any) -> Self:
        """One with the configuration of ``deploy/orthanc``."""
        return cls(folder, json.loads((ROOT / "deploy" / "orthanc" / "orthanc.json").read_text()) | changed)

    @classmethod
    def archive(cls, folder: Path, port: int | None = None, **more: Any) -> Self:
        """One that is told what to keep by DICOMweb alone; what it has, it does not overwrite."""
        own = {
            "Name": "tests",
            "DicomServerEnabled": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "OverwriteInstances": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        return cls(folder, own | more, port)

    def start(self) -> None:
        self.launch()
        self.await_answer(lambda: self.client.get("/system"), START_SECONDS)

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

    def upload(self, *parts: bytes) -> list[str]:
        """Orthanc's own identifiers of what was uploaded."""
        answers = [self.client.post("/instances", content=part) for part in parts]
        return [answer.raise_for_status().json()["ID"] for answer in answers]

    def last_change(self) -> int:
        return int(self.get("/changes", since=str(2**31 - 1))["Last"])

    def instances(self) -> list[str]:
        """SOPInstanceUIDs, by QIDO-RS."""
        return _values(self.get("/dicom-web/instances"), "00080018")

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
