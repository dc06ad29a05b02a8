"""The entries of the record: decisions, and later events of films and versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.pipeline import Verdict
from app.pipeline.calls import Call
from app.pipeline.image import SourceKind

from .tables import EXPLAINED, JUDGED, REPEATED


class DecisionSubject(NamedTuple):
    """The subject of a decision: keyed hashes of a film, and the model that decided."""

    instance_hash: str | None  # None where the film names no SOPInstanceUID
    pixels_hash: str
    model_version: str


@dataclass(frozen=True)
class Decision:
    """A decision to be written.

    Attributes
    ----------
    subject : DecisionSubject
    verdict : Verdict
    percentile : float
        Of the log density among the bundle's calibration scores, 0 to 100.
    request_id, caller, route : str
        `route` is the path's template.
    source_kind : {"png", "jpeg", "dicom"}
    seconds : float
        From the film's arrival.
    earliest_holds : bool
        If the subject was decided before, that decision is the answer, and this entry a repeat of it.
    film : str or None
        The film's id in quarantine, where it is kept there.
    calls : tuple of str, or None
        The calls of its probabilities, if it was accepted.
    presentation : str or None
        How a DICOM film was presented to the network; see ``DecodedImage``.
    explains : bool
        The caller asked for a heatmap. If the subject was accepted before and is accepted now, this entry is no decision: it
        says that the film was explained.
    caller_request_id : str or None
        The caller's own name for the request.
    """

    subject: DecisionSubject
    verdict: Verdict
    percentile: float
    request_id: str
    caller: str
    route: str
    source_kind: SourceKind
    seconds: float
    earliest_holds: bool = False
    film: str | None = None
    calls: tuple[Call, ...] | None = None
    presentation: str | None = None
    explains: bool = False
    caller_request_id: str | None = None

    def row(self, known: tuple[int, Verdict] | None) -> dict[str, Any]:
        """The entry's columns; `known` is the number and verdict of the earlier entry that gives the answer, or None."""
        verdict = self.verdict if known is None else known[1]
        again = EXPLAINED if self.explains else REPEATED
        probabilities = _numbers(verdict.probabilities) if known is None else None
        return {
            **self.subject._asdict(),
            "kind": JUDGED if known is None else again,
            "time": written(),
            "request_id": self.request_id,
            "caller_request_id": self.caller_request_id,
            "verdict": "accepted" if verdict.accepted else "rejected",
            "log_density": verdict.log_density + 0.0,  # SQLite gives -0.0 back as 0.0, whose text differs
            "percentile": self.percentile,
            "probabilities": probabilities,
            "calls": None if probabilities is None else _json(self.calls),
            "presentation": self.presentation,
            "caller": self.caller,
            "source_kind": self.source_kind,
            "route": self.route,
            "seconds": self.seconds,
            "repeat_of": None if known is None else known[0],
        }


@dataclass(frozen=True)
class FilmEvent:
    """An event of a film in quarantine, to be written.

    Attributes
    ----------
    kind : {"viewed", "released", "confirmed", "answered", "exported", "removed"}
    film : str
        The film's id.
    caller : str
        The caller who did it.
    request_id, route : str or None
        Of the request that asked for it, if one did.
    reason : str or None
    model_version : str or None
        The version of the answer.
    probabilities : ndarray, shape (L,), float64, in [0, 1], or None
        The probabilities of the answer.
    calls : tuple of str, or None
        The calls of the answer.
    caller_request_id : str or None
        The caller's own name for the request.
    """

    kind: Literal["viewed", "released", "confirmed", "answered", "exported", "removed"]
    film: str
    caller: str
    request_id: str | None = None
    route: str | None = None
    reason: str | None = None
    model_version: str | None = None
    probabilities: NDArray[np.float64] | None = None
    calls: tuple[Call, ...] | None = None
    caller_request_id: str | None = None

    def row(self) -> dict[str, Any]:
        """The entry's columns."""
        return {
            "kind": self.kind,
            "time": written(),
            "request_id": self.request_id,
            "caller_request_id": self.caller_request_id,
            "model_version": self.model_version,
            "probabilities": _numbers(self.probabilities),
            "calls": _json(self.calls),
            "caller": self.caller,
            "route": self.route,
            "film": self.film,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class VersionEvent:
    """An operator's action on a version, to be written before it is done.

    Attributes
    ----------
    kind : {"shadowed", "promoted", "rolledback", "withdrawn"}
    model_version : str
        The version that enters shadow or service; for "withdrawn", the version that leaves shadow.
    active : str
        The version that is active until then.
    caller, request_id, route : str
        The caller who asked for it, and the request.
    """

    kind: Literal["shadowed", "promoted", "rolledback", "withdrawn"]
    model_version: str
    active: str
    caller: str
    request_id: str
    route: str

    def row(self) -> dict[str, Any]:
        """The entry's columns."""
        return {
            "kind": self.kind,
            "time": written(),
            "request_id": self.request_id,
            "model_version": self.model_version,
            "caller": self.caller,
            "route": self.route,
            "reason": f"active until then: {self.active}",
        }


@dataclass(frozen=True)
class Recalled:
    """A verdict, and whether it was in the record already.

    Attributes
    ----------
    verdict : Verdict
    from_record : bool
    entry : int or None
        Number of the entry that was written; None where the record is optional and failed.
    film : str or None
        The film's id in quarantine.
    """

    verdict: Verdict
    from_record: bool
    entry: int | None = None
    film: str | None = None


Entry = Decision | FilmEvent | VersionEvent


def written(time: datetime | None = None) -> str:
    """A time (default: now) as UTC text of constant length, so that text sorts as time does."""
    return (time or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(calls: tuple[Call, ...] | None) -> str | None:
    return None if calls is None else json.dumps(calls)


def _numbers(probabilities: NDArray[np.float64] | None) -> str | None:
    return None if probabilities is None else json.dumps(probabilities.tolist())
