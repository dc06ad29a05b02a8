"""The input of screening, and its output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from app.engine import Version
from app.pipeline import DecodedImage, Verdict
from app.pipeline.calls import Call
from app.pipeline.heatmap import Heatmap
from app.pipeline.identity import Identity, read_identity
from app.pipeline.image import SourceKind
from app.records import Recalled


@dataclass(frozen=True)
class PostedFilm:
    """A film as it was posted, and what its bytes are."""

    data: bytes
    kind: SourceKind

    @cached_property
    def identity(self) -> Identity | None:
        """Which instance a DICOM film says it is. The first look reads its header: take it in a thread."""
        return read_identity(self.data) if self.kind == "dicom" else None


@dataclass(frozen=True)
class Origin:
    """Where a film comes from.

    Attributes
    ----------
    request_id, caller, route : str
        `route` is the path's template.
    sharer : str
        Who shares places with others; see ``Engine.place``.
    arrived : float
        When the film came; of ``time.perf_counter()``, s.
    film_id : str
        The film's id, if it is kept in quarantine.
    """

    request_id: str
    caller: str
    route: str
    sharer: str
    arrived: float
    film_id: str


@dataclass(frozen=True)
class Screened:
    """A film that has a verdict, which is in the record.

    Attributes
    ----------
    film : PostedFilm
    version : Version
        Who judged it, now or before.
    image : DecodedImage
    recalled : Recalled
        The verdict, and its entry of the record.
    heatmap : Heatmap or None
        Of the finding that was asked for, if the film was accepted.
    report : bytes or None
        A DICOM file, if the sender wanted one and the film is DICOM.
    """

    film: PostedFilm
    version: Version
    image: DecodedImage
    recalled: Recalled
    heatmap: Heatmap | None = None
    report: bytes | None = None

    @property
    def verdict(self) -> Verdict:
        """Of now, or of the record."""
        return self.recalled.verdict

    @property
    def calls(self) -> tuple[Call, ...]:
        """Of each finding; empty where the film was rejected."""
        probabilities = self.verdict.probabilities
        return () if probabilities is None else self.version.bundle.calls.words(probabilities)
