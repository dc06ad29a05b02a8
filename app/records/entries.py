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
    """What a decision is about: by keyed hashes, and by the model that decided."""

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
        As its probabilities were called, where it was accepted.
    presentation : str or None
        How a DICOM film was shown to be judged; see ``DecodedImage``.
    explains : bool
        A heatmap was asked for. If the subject was accepted before and is now, that is no decision, and this entry says that
        it was explained.
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

    def row(self, known: tuple[int, Verdict] | None) -> dict[str, Any]:
        """The entry's columns; `known` is the earlier entry and its verdict, where that is the answer."""
        verdict = self.verdict if known is None else known[1]
        again = EXPLAINED if self.explains else REPEATED
        probabilities = _numbers(verdict.probabilities) if known is None else None
        return {
            **self.subject._asdict(),
            "kind": JUDGED if known is None else again,
            "time": written(),
            "request_id": self.request_id,
            "verdict": "accepted" if verdict.accepted else "rejected",
            "log_density": verdict.log_density + 0.0,  # SQLite gives -0.0 back as 0.0, which is written otherwise
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
        Its id.
    caller : str
        Who did it.
    request_id, route : str or None
        Of the request that asked for it, if one did.
    reason : str or None
    model_version : str or None
        Of what was answered.
    probabilities : ndarray, shape (L,), float64, in [0, 1], or None
        What was answered.
    calls : tuple of str, or None
        As it was called.
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

    def row(self) -> dict[str, Any]:
        """The entry's columns."""
        return {
            "kind": self.kind,
            "time": written(),
            "request_id": self.request_id,
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
    """What an operator does with a version, to be written before it is done.

    Attributes
    ----------
    kind : {"shadowed", "promoted", "rolledback", "withdrawn"}
    model_version : str
        The version that comes: into shadow, or into service; of "withdrawn", the shadow that goes.
    active : str
        The version that is active until then.
    caller, request_id, route : str
        Who asked for it, and by which request.
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
    """UTC, of one length, so that text sorts as time does."""
    return (time or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(calls: tuple[Call, ...] | None) -> str | None:
    return None if calls is None else json.dumps(calls)


def _numbers(probabilities: NDArray[np.float64] | None) -> str | None:
    return None if probabilities is None else json.dumps(probabilities.tolist())
