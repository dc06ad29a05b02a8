"""The request to each system, and whether its answer is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

#: ``ours``: /v1/score. ``json``: the peers' own shape. ``triton``: the KServe protocol with binary inputs.
Protocol = Literal["ours", "json", "triton"]

PROBABILITY_ATOL = 1e-3
LOG_DENSITY_RTOL = 1e-3
LOG_DENSITY_ATOL = 0.5  # nats; films spread over hundreds


@dataclass(frozen=True)
class ExpectedAnswer:
    """The pipeline's answer for a film, in one process."""

    probabilities: list[float]
    log_density: float
    accepted: bool


@dataclass(frozen=True)
class BenchFilm:
    """One body and its golden answer; None if the body is no film."""

    body: bytes
    media_type: str
    golden: ExpectedAnswer | None


def request(protocol: Protocol, path: str, film: BenchFilm) -> tuple[bytes, bytes]:
    """Head and body of the request for a film."""
    body, extra, media_type = film.body, "", film.media_type
    if protocol == "triton":
        described = {
            "inputs": [
                {
                    "name": "film",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": 4 + len(body)},
                }
            ]
        }
        start = json.dumps(described).encode()
        extra = f"Inference-Header-Content-Length: {len(start)}\r\n"
        media_type = "application/octet-stream"
        body = start + len(film.body).to_bytes(4, "little") + film.body
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode(), body


def outcome(protocol: Protocol, film: BenchFilm, status: int, body: bytes) -> str:
    """``correct``, ``refused`` (503, or 429 of a full queue), ``wrong``, or ``error STATUS``."""
    if status in (429, 503):
        return "refused"
    if film.golden is None:
        return "wrong" if status == 200 else f"error {status}"
    if protocol == "ours" and not film.golden.accepted:
        title = json.loads(body).get("title") if status == 422 else None
        return "correct" if title == "rejected as adversarial" else f"error {status}"
    if status != 200:
        return f"error {status}"
    try:
        return "correct" if _right(protocol, film.golden, json.loads(body)) else "wrong"
    except (ValueError, KeyError, TypeError, IndexError):
        return "wrong"


def _right(protocol: Protocol, golden: ExpectedAnswer, answer: dict) -> bool:
    if protocol == "ours":
        return answer["verdict"] == "accepted" and _near(list(answer["probabilities"].values()), golden.probabilities)
    if protocol == "triton":
        answer = {output["name"]: output["data"] for output in answer["outputs"]}
        answer["log_density"] = answer["log_density"][0]
    off = abs(answer["log_density"] - golden.log_density)
    return _near(answer["probabilities"], golden.probabilities) and off <= LOG_DENSITY_ATOL + LOG_DENSITY_RTOL * abs(
        golden.log_density
    )


def _near(values: list[float], expected: list[float]) -> bool:
    return len(values) == len(expected) and all(
        abs(a - b) <= PROBABILITY_ATOL for a, b in zip(values, expected, strict=True)
    )
