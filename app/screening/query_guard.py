"""Finds decoded films that belong to a sequence of near-duplicates, counts them, and refuses them if the setting says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from torch import Tensor

from app.access.sequences import QuerySequence, Sequences
from app.metrics import Metrics
from app.settings import Settings

log = logging.getLogger("cxr_gate")


@dataclass(frozen=True)
class QueryGuard:
    """Compares the films that each caller sends.

    Attributes
    ----------
    sequences : Sequences or None
        None: nothing is remembered (``CXR_QUERY_SEQUENCES=off``).
    limit : int
        A film with so many near-duplicates belongs to a sequence.
    refuse : bool
        Whether such a film is refused, or judged as any other.
    """

    sequences: Sequences | None
    limit: int
    refuse: bool
    metrics: Metrics

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> QueryGuard:
        """The guard that the settings describe."""
        mode = settings.query_sequences
        sequences = None if mode == "off" else Sequences(settings.query_films, settings.query_hours * 3600)
        return cls(sequences, settings.query_near_duplicates, mode == "refuse", metrics)

    def see(self, caller: str, request_id: str, tensor: Tensor) -> None:
        """Look at a decoded film, of shape (1, 1, 224, 224), before it is judged; call it in the event loop's thread.

        Raises
        ------
        QuerySequence
        """
        if self.sequences is None:
            return
        sighting = self.sequences.see(caller, tensor[0, 0].numpy(), request_id)
        suspect = sighting.near >= self.limit
        if not sighting.again:
            self.metrics.near_duplicates.observe(sighting.near)
            if suspect:
                self.metrics.query_sequence_films.labels("refused" if self.refuse else "judged").inc()
                log.warning(
                    "a caller sends many near-duplicates of one film",
                    # The record has the callers of both requests, except this one's if it is refused.
                    extra={"request_id": request_id, "near": sighting.near, "nearest": sighting.nearest_request},
                )
        if suspect and self.refuse:
            raise QuerySequence(
                "the caller has sent many films that differ from this one by very little, as an attack by queries does; it "
                "is not judged, and will not be if it is sent again: let a person look at the film and at its sender"
            )
