"""Bodies of answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.pipeline.calls import Call, Called
from app.pipeline.exposed_field import ExposedField
from app.pipeline.labels import LABELS
from app.pipeline.manifest import Finding, GateModel, Rates


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
        return {
            one.name: cls(
                call=one.call,
                present_from=one.present_from,
                absent_below=one.absent_below,
                percentile=one.percentile,
            )
            for one in called
        }


class Accepted(BaseModel):
    """200: the gate accepted the film."""

    request_id: str
    model_version: str
    verdict: Literal["accepted"] = "accepted"
    probabilities: dict[str, float] = Field(
        description=f"{len(LABELS)} findings, each in [0, 1]; they are not exclusive, and hold for the prevalences of /v1/model"
    )
    calls: dict[str, CalledFinding] = Field(description="present, indeterminate or absent, for each finding")
    source_kind: Literal["png", "jpeg", "dicom"]
    exposed_field: JudgedField = Field(description="the part of the film that was judged")
    notes: list[str] = Field(
        description="how the pixels were made, and what was left out: window, missing tags, borders"
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

    id: str
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
        """Leave out what only computes."""
        return cls(**{name: getattr(finding, name) for name in cls.model_fields})


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
        """Leave out what is not for callers."""
        return cls(**{name: getattr(gate, name) for name in cls.model_fields})


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
