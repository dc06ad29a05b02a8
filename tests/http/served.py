"""The service as a subprocess behind a real socket, and what the tests post to it."""

from __future__ import annotations

import http.client
import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import dcmread
from pydicom.uid import (
    MPEG2MPML,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0  # torch is imported anew, perhaps beside a training run
ANSWER_SECONDS = 60.0
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "request_id"}


def clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment without the caller's own settings, and with few threads: many servers share the machine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return {**inherited, "OMP_NUM_THREADS": "2", "CXR_RECORD_URL": "sqlite://", "CXR_METRICS_OPEN": "true", **settings}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def run_command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``cxr-gate`` to its end; `settings` are environment variables."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=clean_environment(settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


class Served:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        # A connection is not used again once the service may be about to close it, as it does after 5 s.
        limits = httpx.Limits(keepalive_expiry=2.0)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_SECONDS, limits=limits)

    def post(self, data: bytes, content_type: str | None = "image/png", **headers: str) -> httpx.Response:
        """Post a raw body; None leaves Content-Type out."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type is not None:
            named["Content-Type"] = content_type
        return self.client.post("/v1/score", content=data, headers=named)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def logged(self) -> str:
        return self.log.read_text()

    def memory_kib(self, field: str = "VmRSS") -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        assert found, field
        return int(found[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)


@contextmanager
def serve(bundle: Path, log: Path, *options: str, **settings: str) -> Iterator[Served]:
    """Serve a bundle on a free port until the block ends; `settings` are environment variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command("serve", "--bundle", str(bundle), "--port", str(port), "--device", "cpu", *options),
            cwd=ROOT,
            env=clean_environment(settings),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(process, port, log)
    try:
        _await_ready(served)
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
        # A child may be left: under libfaketime a fork can hang before it runs its program, and then ignores SIGTERM.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _await_ready(served: Served) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if served.process.poll() is not None:
            raise AssertionError(f"the service ended with {served.process.returncode}:\n{served.logged()}")
        try:
            if served.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"not ready after {START_SECONDS} s:\n{served.logged()}")


def request_head(length: int | None, content_type: str = "image/png") -> bytes:
    """The head of a POST, for tests that write to the socket themselves; None is for a chunked body."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n").encode()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body."""
    response = http.client.HTTPResponse(connection, method="POST")
    try:
        response.begin()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        response.close()


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The answer is a whole problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == PROBLEM_FIELDS
    assert body["status"] == status
    assert re.fullmatch(r"/problems/[a-z-]+", body["type"])
    assert body["title"]
    assert len(body["detail"]) > 10
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["instance"].endswith(body["request_id"])
    return body


def assert_accepted(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


# Films.


def pixels(seed: int = 0, side: int = 256) -> np.ndarray:
    """A smooth grey picture, shape (side, side), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(pixels(seed)))


def jpeg(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(pixels(seed)), "JPEG", quality=95)


def dataset(seed: int = 0, **tags: Any) -> Dataset:
    """A DX chest film of 8 bits; a tag given as None is left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    grey = pixels(seed)
    standard = {
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "Rows": grey.shape[0],
        "Columns": grey.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": grey.tobytes(),
    }
    for keyword, value in {**standard, **tags}.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def part10(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def dicom(seed: int = 0, **tags: Any) -> bytes:
    return part10(dataset(seed, **tags))


def dicom_not_a_number(keyword: str) -> bytes:
    """A decimal string that pydicom would not write, put into the written file."""
    tags = {"WindowCenter": "128", "WindowWidth": "256", "RescaleSlope": "1", "RescaleIntercept": "0"}
    mark = "4242.424"
    return dicom(**{**tags, keyword: mark}).replace(mark.encode(), b"nan     ")


def dicom_with_syntax(uid: str) -> bytes:
    made = dataset()
    made.file_meta.TransferSyntaxUID = uid
    made.PixelData = encapsulate([b"\x00" * 64])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return part10(made)


def unsupported_syntax() -> bytes:
    return dicom_with_syntax(MPEG2MPML)


def with_modality(path: str, modality: str | None = None) -> bytes:
    found = get_testdata_file(path)
    assert isinstance(found, str), path
    if modality is None:
        return Path(found).read_bytes()
    changed = dcmread(found)
    changed.Modality = modality
    buffer = io.BytesIO()
    changed.save_as(buffer)
    return buffer.getvalue()


def png_claiming(columns: int, rows: int) -> bytes:
    """A PNG whose header claims a size that no pixel backs."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def half(make: Callable[[], bytes]) -> bytes:
    data = make()
    return data[: len(data) // 2]
