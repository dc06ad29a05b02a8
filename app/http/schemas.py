"""Bodies of answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.pipeline.manifest import Finding, Gate, Rates


class Accepted(BaseModel):
    """200: the gate accepted the film."""

    request_id: str
    model_version: str
    verdict: Literal["accepted"] = "accepted"
    probabilities: dict[str, float] = Field(description="14 findings, each in [0, 1]; they are not exclusive")
    source_kind: Literal["png", "jpeg", "dicom"]
    notes: list[str] = Field(description="how the pixels were made: window, missing tags")


class ProblemBody(BaseModel):
    """Every other answer: application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


class Limits(BaseModel):
    """What the service takes."""

    max_body_bytes: int
    max_pixels: int
    deadline_seconds: float


class PublicGate(BaseModel):
    """The gate without its threshold, which an attacker could aim at."""

    kind: str
    n: int
    threshold_rule: str
    target_false_rejection_rate: float
    calibration_n: int
    calibration_bound: float

    @classmethod
    def of(cls, gate: Gate) -> PublicGate:
        """Leave out what is not for callers."""
        return cls(**{name: getattr(gate, name) for name in cls.model_fields})


class ModelDescription(BaseModel):
    """What is served, and how good it was on held-out films."""

    model_version: str
    shadow: str | None = Field(description="version that judges the same films without an answer, to be compared")
    labels: list[str]
    findings: list[Finding]
    gate: PublicGate
    measured: Rates | None
    backend: str
    device: str
    limits: Limits
    notice: str = "Not a medical device. For research and engineering; no diagnosis may rest on it."


class Status(BaseModel):
    """Of /healthz and /readyz."""

    status: str
