"""Films with a whole header, for reports; and the tools of others that judge the reports."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from tests.support.films import dicom

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


def film_with_bytes(charset: bytes | None = None, **raw: bytes) -> bytes:
    """A film in which the values of some tags are these bytes, legal or not; ``charset`` None declares none."""
    made = film(SpecificCharacterSet="ISO_IR 100", TimezoneOffsetFromUTC="+0000", StudyDescription="Chest")
    header = dcmread(io.BytesIO(made), stop_before_pixels=True)
    for keyword, value in (("SpecificCharacterSet", charset or b""), *raw.items()):
        # pydicom would encode or repair what is written through it, so the element is replaced in the written file.
        legal = _element(keyword, str(header[keyword].value).encode())
        assert legal in made
        made = made.replace(legal, _element(keyword, value))
    return made


def _element(keyword: str, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian (PS3.5 section 7.1.2)."""
    tag, vr = Tag(keyword), dictionary_VR(keyword)
    padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", tag.group, tag.element, vr.encode(), len(padded)) + padded


def run_tool(name: str, *arguments: str | Path) -> str:
    """What a Debian tool prints, on both streams."""
    path = shutil.which(name)
    assert path, f"{name} is missing; scripts/debian-packages.sh installs what the tests need (dcmtk, dicom3tools)"
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
