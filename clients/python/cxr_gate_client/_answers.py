"""The gate's answers about a film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

Called = Literal["present", "indeterminate", "absent", "not called"]


@dataclass(frozen=True)
class Call:
    """The call of a finding's probability, by the operating points of the version that answered; None: not known."""

    call: Called
    present_from: float | None
    absent_below: float | None
    percentile: float | None


@dataclass(frozen=True)
class Accepted:
    """The gate accepted the film. `probabilities` and `calls` are by finding; ``absent`` does not rule a finding out."""

    request_id: str
    model_version: str
    probabilities: Mapping[str, float]
    calls: Mapping[str, Call]
    source_kind: Literal["png", "jpeg", "dicom"]
    exposed_field: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """The findings that are called present."""
        return tuple(name for name, called in self.calls.items() if called.call == "present")


@dataclass(frozen=True)
class Rejected:
    """The gate rejected the film as adversarial: no probabilities are given, and a person must look at it.

    `result` is the path under which the film's result is once a reviewer releases it; None where films are not kept.
    """

    request_id: str
    detail: str
    result: str | None


Result = Accepted | Rejected


def accepted(body: Mapping[str, Any]) -> Accepted:
    """Read the answer of 200. Fields that a later service adds are ignored."""
    names = ("call", "present_from", "absent_below", "percentile")
    return Accepted(
        request_id=body["request_id"],
        model_version=body["model_version"],
        probabilities=dict(body["probabilities"]),
        calls={finding: Call(**{name: told[name] for name in names}) for finding, told in body["calls"].items()},
        source_kind=body["source_kind"],
        exposed_field=dict(body["exposed_field"]),
        notes=tuple(body["notes"]),
    )


def rejected(answer: httpx.Response) -> Rejected:
    """Read the answer of 422."""
    body = answer.json()
    return Rejected(body["request_id"], body["detail"], answer.links.get("related", {}).get("url"))
