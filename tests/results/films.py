"""Films with a whole header, for reports; and the tools of others that judge the reports."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from pydicom.uid import generate_uid

from tests.http.served import dicom

NAME, PATIENT = "Doe^Jane", "P-4711"


def film(seed: int = 0, **tags: Any) -> bytes:
    """A DX chest film of a patient in a study; a tag given as None is left out."""
    standard = {
        "PatientName": NAME,
        "PatientID": PATIENT,
        "PatientBirthDate": "19600229",
        "PatientSex": "F",
        "StudyInstanceUID": generate_uid(entropy_srcs=["study"]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=["series"]),
        "StudyDate": "20240131",
        "StudyTime": "081500",
        "StudyID": "S1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Roe^Richard",
    }
    return dicom(seed, **{**standard, **tags})


def run_tool(name: str, *arguments: str | Path) -> str:
    """What a Debian tool prints, on both streams."""
    path = shutil.which(name)
    assert path, f"{name} is missing; scripts/debian-packages.sh installs what the tests need (dcmtk, dicom3tools)"
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
