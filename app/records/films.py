"""Entries that name a film in quarantine -> the events of the film. Events are stored nowhere else, so nothing can
disagree with them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from app.pipeline.image import SourceKind

from .chain import seal_of
from .key import RecordKey
from .tables import CONFIRMED, ENTRIES, JUDGED, RELEASED, REMOVED, REPEATED

log = logging.getLogger("cxr_gate")

FilmState = Literal["pending", "released", "confirmed", "removed"]


@dataclass(frozen=True)
class Happening:
    """One event of a film; times are those of the record, UTC as text."""

    kind: str
    time: str
    by: str
    reason: str | None
    route: str | None


@dataclass(frozen=True)
class KeptFilm:
    """A film that was rejected and kept.

    Attributes
    ----------
    id : str
    entry : int
        Number of the decision that kept it: the order of films.
    time : str
        When it was kept.
    request_id, model_version, source_kind, route, pixels_hash : str
        Of that decision.
    log_density : float
        Nats.
    percentile : float
        Of the log density among the bundle's calibration scores, 0 to 100.
    callers : tuple of str
        The callers who sent it: those of the decision and of its repeats.
    happenings : tuple of Happening
        Its later events, in order.
    """

    id: str
    entry: int
    time: str
    request_id: str
    model_version: str
    source_kind: SourceKind
    route: str
    pixels_hash: str
    log_density: float
    percentile: float
    callers: tuple[str, ...]
    happenings: tuple[Happening, ...] = ()

    @property
    def decision(self) -> Happening | None:
        """The release or the confirmation, whichever came first."""
        return next((each for each in self.happenings if each.kind in {RELEASED, CONFIRMED}), None)

    @property
    def state(self) -> FilmState:
        """The present state."""
        if any(each.kind == REMOVED for each in self.happenings):
            return "removed"
        if self.decision is None:
            return "pending"
        return "released" if self.decision.kind == RELEASED else "confirmed"


class UnsealedEntry(Exception):
    """An entry that names a film does not match its seal, so nobody knows what was decided on the film."""

    def __init__(self, entry: int, film: str) -> None:
        super().__init__(f"entry {entry} of the record, about the film {film}, does not match its seal")


def kept_films(
    connection: Connection, key: RecordKey, ids: Collection[str] | None, *, whole: bool = False
) -> dict[str, KeptFilm]:
    """Read films from the record; an entry that does not match its seal is logged and ignored.

    Parameters
    ----------
    whole : bool
        True: such an entry is an error instead, for callers that would take a missing film for an unknown one.

    Raises
    ------
    UnsealedEntry
    """
    query = select(ENTRIES).where(ENTRIES.c.film.is_not(None)).order_by(ENTRIES.c.id)
    if ids is not None:
        query = query.where(ENTRIES.c.film.in_(ids))
    entries: dict[str, list[dict[str, Any]]] = {}
    for row in map(dict, connection.execute(query).mappings()):
        if seal_of(row, key) != row["seal"]:  # a write to the database alone must release no film
            if whole:
                raise UnsealedEntry(row["id"], row["film"])
            log.error(
                "an entry of the record does not match its seal; run cxr-gate verify-record", extra={"entry": row["id"]}
            )
            continue
        entries.setdefault(row["film"], []).append(row)
    found = ((film, _kept_film(film, its)) for film, its in entries.items())
    return {film: kept for film, kept in found if kept is not None}


def _kept_film(film: str, entries: list[dict[str, Any]]) -> KeptFilm | None:
    """The film; None if retention removed its decision."""
    decisions = [entry for entry in entries if entry["kind"] in {JUDGED, REPEATED}]
    if not decisions:
        return None
    first = decisions[0]
    same = ("time", "request_id", "model_version", "source_kind", "route", "pixels_hash", "log_density", "percentile")
    return KeptFilm(
        id=film,
        entry=first["id"],
        callers=tuple(dict.fromkeys(entry["caller"] for entry in decisions)),
        happenings=tuple(
            Happening(entry["kind"], entry["time"], entry["caller"], entry["reason"], entry["route"])
            for entry in entries
            if entry["kind"] not in {JUDGED, REPEATED}
        ),
        **{name: first[name] for name in same},
    )
