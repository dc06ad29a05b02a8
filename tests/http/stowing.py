"""Bodies for STOW-RS, and what its answers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydicom.dataset import Dataset

from tests.support.asking import Asked

STUDIES = "/dicomweb/studies"
BOUNDARY = "a-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
DICOM_JSON = "application/dicom+json"


def related(films: Sequence[bytes], part_type: str | None = "application/dicom") -> bytes:
    """A body; None leaves the parts' Content-Type out."""
    head = f"Content-Type: {part_type}\r\n" if part_type else ""
    parts = [f"--{BOUNDARY}\r\n{head}\r\n".encode() + film + b"\r\n" for film in films]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(service: Asked, body: bytes, path: str = STUDIES, **headers: str) -> httpx.Response:
    named = {"Content-Type": CONTENT_TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
    return service.client.post(path, content=body, headers=named)


def stow(service: Asked, *films: bytes, path: str = STUDIES) -> httpx.Response:
    return post(service, related(films), path)


def answer_of(response: httpx.Response, status: int) -> Dataset:
    """The response module, which an independent library can read."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == DICOM_JSON
    answer = Dataset.from_json(response.json())
    assert answer.private_block(0x0099, "CXR-GATE")[0x10].value == response.headers["x-request-id"]
    assert answer["RetrieveURL"].is_empty
    return answer


def told(item: Dataset) -> dict[int, Any]:
    """The private block of an item: element's last byte -> value."""
    block = item.private_block(0x0099, "CXR-GATE")
    return {offset: block[offset].value for offset in range(1, 10) if offset in block}


def scored(answer: Dataset) -> list[Dataset]:
    return list(answer.get("ReferencedSOPSequence", []))


def failed(answer: Dataset) -> list[Dataset]:
    return list(answer.get("FailedSOPSequence", []))


def reasons(answer: Dataset) -> list[int]:
    return [item.FailureReason for item in failed(answer)]


def counted(service: Asked, name: str) -> Mapping[tuple[str, ...], float]:
    """A counter's values by its labels' values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(service.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }
