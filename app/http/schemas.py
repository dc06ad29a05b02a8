"""Bodies of answers."""

from __future__ import annotations

from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.engine import Version
from app.pipeline import DecodedImage
from app.pipeline.calls import Call, Called
from app.pipeline.exposed_field import ExposedField
from app.pipeline.labels import LABELS
from app.pipeline.manifest import Finding, GateModel, Rates

#: Examples in the OpenAPI document.
EXAMPLE_REQUEST: Final = "3f2a9c4be1d04c7f8a6b5d2e1c0f9a87"
EXAMPLE_VERSION: Final = "densenet121-mgm-ce67fc69256e"


class JudgedField(BaseModel):
    """The part of the film that was judged: the rectangle, half open, in pixels of the whole film, within the outlines."""

    rows: int = Field(description="of the whole film")
    columns: int = Field(description="of the whole film")
    top: int
    left: int
    bottom: int
    right: int
    outlines: list[list[tuple[float, float]]] = Field(
        description="polygons of corners (column, row), to a tenth of a pixel; the field lies within all of them. "
        "Empty: the field is the whole rectangle"
    )

    @classmethod
    def of(cls, field: ExposedField) -> JudgedField:
        """The field in the form of answers."""
        outlines = [[(round(x, 1), round(y, 1)) for x, y in outline] for outline in field.outlines]
        return cls.model_validate({**field.as_json(), "outlines": outlines})


class CalledFinding(BaseModel):
    """What a finding's probability comes to, by the points of the version that answered."""

    call: Call = Field(
        description="an integrator branches on this; 'not called': too few films with the finding to choose a point"
    )
    present_from: float | None = Field(description="probability; null where the finding is not called")
    absent_below: float | None
    percentile: float | None = Field(
        description="0 to 100: share of films without the finding whose probability is lower; null: not known"
    )

    @classmethod
    def by_name(cls, called: tuple[Called, ...]) -> dict[str, CalledFinding]:
        """The calls in the form of answers."""
        return {one.name: cls.model_validate(one, from_attributes=True) for one in called}


class Accepted(BaseModel):
    """200: the gate accepted the film."""

    request_id: str = Field(examples=[EXAMPLE_REQUEST])
    model_version: str = Field(examples=[EXAMPLE_VERSION])
    verdict: Literal["accepted"] = "accepted"
    probabilities: dict[str, float] = Field(
        description=f"{len(LABELS)} findings, each in [0, 1]; they are not exclusive, and hold for the prevalences of /v1/model",
        examples=[{"Effusion": 0.61, "Hernia": 0.002}],
    )
    calls: dict[str, CalledFinding] = Field(description="present, indeterminate or absent, for each finding")
    source_kind: Literal["png", "jpeg", "dicom"]
    exposed_field: JudgedField = Field(description="the part of the film that was judged")
    notes: list[str] = Field(
        description="how the pixels were made, and what was left out: window, missing tags, borders"
    )

    @classmethod
    def of(
        cls, request_id: str, version: Version, image: DecodedImage, probabilities: NDArray[np.float64], **more: object
    ) -> Self:
        """The answer with a film's probabilities (14,) by the version that gave them; a subclass adds `more`."""
        return cls.model_validate(
            {
                "request_id": request_id,
                "model_version": version.name,
                "probabilities": {name: float(value) for name, value in zip(LABELS, probabilities, strict=True)},
                "calls": CalledFinding.by_name(version.bundle.calls.of(probabilities)),
                "source_kind": image.source_kind,
                "exposed_field": JudgedField.of(image.field),
                "notes": list(image.notes),
                **more,
            }
        )


class Release(BaseModel):
    """Who released a film, and why."""

    by: str
    reason: str
    time: str


class ReleasedResult(Accepted):
    """What an accepted film is answered, of one that the gate rejected and a reviewer released."""

    released: Release


class KeptFilmSummary(BaseModel):
    """A film in quarantine."""

    id: str = Field(
        description="the request_id of its rejection; of an instance that was stored, with its number in the request",
        examples=[EXAMPLE_REQUEST],
    )
    request_id: str
    state: Literal["pending", "released", "confirmed", "removed"]
    time: str = Field(description="when it was rejected, UTC")
    source_kind: Literal["png", "jpeg", "dicom"]
    model_version: str
    route: str
    callers: list[str]


class KeptFilmPage(BaseModel):
    """Films, newest first."""

    films: list[KeptFilmSummary]
    next: str | None = Field(description="`before` of the next page; null where there is none")


class FilmHappening(BaseModel):
    """An event in the life of a kept film: viewed, released, confirmed, answered, exported, removed."""

    kind: str
    time: str
    by: str
    reason: str | None
    route: str | None


class KeptFilmDetails(KeptFilmSummary):
    """All that is known of a film. For reviewers alone: an exact score is an oracle for an attacker."""

    log_density: float = Field(description="nats")
    percentile: float = Field(
        description="of it among the bundle's calibration scores, which are of clean films: 0 to 100"
    )
    pixels_hash: str
    happenings: list[FilmHappening]


class Reason(BaseModel, extra="forbid"):
    """Why a film is released or confirmed; no names of patients."""

    reason: str = Field(min_length=3, max_length=500)


class ProblemBody(BaseModel):
    """Every other answer: application/problem+json (RFC 9457)."""

    type: str = Field(description="names the problem, and is the path of its page: what it means, and what to do")
    title: str = Field(description="the problem in words; programs branch on the status, or on the type")
    status: int
    detail: str = Field(description="what was wrong with this request, and the remedy; for people")
    instance: str
    request_id: str


class Limits(BaseModel):
    """What the service takes."""

    max_body_bytes: int
    max_pixels: int
    deadline_seconds: float


class PublicFinding(BaseModel):
    """A finding as callers need it: how it is called, and how good that is on held-out films."""

    name: str
    prevalence: float
    present_from: float | None
    absent_below: float | None
    specificity: float | None
    specificity_lower_bound: float | None
    sensitivity: float | None
    missed: float | None
    held_out_positives: int
    held_out_negatives: int
    auroc: float | None

    @classmethod
    def of(cls, finding: Finding) -> PublicFinding:
        """The finding without the fields that only serve to compute."""
        return cls.model_validate(finding, from_attributes=True)


class PublicGate(BaseModel):
    """The gate without its threshold, which an attacker could aim at."""

    kind: str
    watch: str | None = Field(
        description="what it looks through beside the network that answers; null: that network's last features"
    )
    n: int
    threshold_rule: str
    target_false_rejection_rate: float
    calibration_n: int
    calibration_bound: float

    @classmethod
    def of(cls, gate: GateModel) -> PublicGate:
        """The gate without the fields that are not for callers."""
        return cls.model_validate(gate, from_attributes=True)


class ModelDescription(BaseModel):
    """The served model, and its figures on held-out films."""

    model_version: str
    signed_by: str | None = Field(description="identifier of the trusted key; null where the operator set none")
    shadow: str | None = Field(description="version that judges the same films without an answer, to be compared")
    labels: list[str]
    findings: list[PublicFinding]
    gate: PublicGate
    measured: Rates | None
    backend: str
    device: str
    limits: Limits
    notice: str = "Not a medical device. For research and engineering; no diagnosis may rest on it."


class Status(BaseModel):
    """Of /healthz and /readyz."""

    status: str
