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
    """A film as it was posted, and the kind of its bytes."""

    data: bytes
    kind: SourceKind

    @cached_property
    def identity(self) -> Identity | None:
        """The instance that a DICOM film names. The first access reads its header, so it belongs in a thread."""
        return read_identity(self.data) if self.kind == "dicom" else None


@dataclass(frozen=True)
class Origin:
    """Where a film comes from.

    Attributes
    ----------
    request_id, caller, route : str
        The service's id of the request, the caller's name, and the template of the path.
    sharer : str
        The caller who shares places with others; see ``Engine.place``.
    arrived : float
        When the film came, in seconds of ``time.perf_counter()``.
    film_id : str
        The film's id, if it is kept in quarantine.
    caller_request_id : str or None
        The caller's own id of the request.
    """

    request_id: str
    caller: str
    route: str
    sharer: str
    arrived: float
    film_id: str
    caller_request_id: str | None = None


@dataclass(frozen=True)
class Screened:
    """A film whose verdict is in the record.

    Attributes
    ----------
    film : PostedFilm
    version : Version
        The version that judged it, now or before.
    image : DecodedImage
    recalled : Recalled
        The verdict, and its entry of the record.
    heatmap : Heatmap or None
        The heatmap of the wanted finding, if the film was accepted.
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
        """The verdict of now, or that of the record."""
        return self.recalled.verdict

    @property
    def calls(self) -> tuple[Call, ...]:
        """The call of each finding; empty if the film was rejected."""
        probabilities = self.verdict.probabilities
        return () if probabilities is None else self.version.bundle.calls.words(probabilities)
