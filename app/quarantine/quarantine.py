"""The films of one service: kept with their decisions, looked at, decided on, and removed when there are too many or too old.

Every step is an entry of the record before it is done, except the keeping: there the film is on the disk before the
entry that names it. So after a kill the record never names a film that is gone as kept, and a film that the record
does not know is put aside at the next start (``belonging``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

from app.metrics import Metrics
from app.records import (
    Decision,
    FilmEvent,
    FilmState,
    KeptFilm,
    Recalled,
    Record,
    RecordUnavailable,
    UnsealedEntry,
    Writer,
)

from .belonging import brought_together
from .vault import Vault

log = logging.getLogger("cxr_gate")

#: The caller of removals, in the record.
ITSELF: Final = "cxr-gate"
_SWEEP_SECONDS: Final = 60.0
_REMOVED_AT_ONCE: Final = 200


class QuarantineUnavailable(Exception):
    """A rejected film could not be kept, so the service does not answer its rejection."""


class NoSuchFilm(Exception):
    """There is no film with this id: there never was one, or it was removed."""

    def __init__(self, detail: str = "there is no film with this id: there never was one, or it was removed") -> None:
        super().__init__(detail)


class AlreadyDecided(Exception):
    """Somebody has already made the opposite decision."""

    def __init__(self, film: KeptFilm) -> None:
        assert film.decision is not None
        super().__init__(f"the film was {film.state} at {film.decision.time}; a decision cannot be taken back")


@dataclass(frozen=True)
class _Held:
    """The film's data that are kept in memory; ``kept_at`` is Unix time."""

    entry: int
    kept_at: float
    state: FilmState
    size: int


class Quarantine:
    """The rejected films; belongs to one event loop. ``open`` and ``start`` before use, ``stop`` after.

    Parameters
    ----------
    vault : Vault
    record : Record
    writer : Writer
        The writer of that record.
    metrics : Metrics
    most_bytes : int
        Bytes of all files. A film beyond it pushes out the oldest film with a decision, or otherwise the oldest.
    days : float
        After which a film is removed.
    optional : bool
        Whether a film that cannot be kept is answered all the same.
    """

    def __init__(
        self,
        vault: Vault,
        record: Record,
        writer: Writer,
        metrics: Metrics,
        *,
        most_bytes: int,
        days: float,
        optional: bool = False,
    ) -> None:
        self._vault = vault
        self._record = record
        self._writer = writer
        self._metrics = metrics
        self._most_bytes = most_bytes
        self._seconds = days * 86_400
        self._optional = optional
        self._films: dict[str, _Held] = {}
        self._unsure: dict[str, int] = {}  # files that may be in the record or not, with their sizes
        self._orphans = 0  # films that lie aside
        self._coming = 0  # bytes of films that are being kept
        self._deciding = asyncio.Lock()
        self._keeping: set[asyncio.Task[Recalled]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        states: tuple[FilmState, ...] = ("pending", "released", "confirmed")
        for state in states:
            metrics.quarantine_films.labels(state).set_function(partial(self._count, state))
        metrics.quarantine_bytes.set_function(lambda: self._bytes)
        metrics.quarantine_orphans.set_function(lambda: self._orphans)

    def open(self, most_orphans: int) -> None:
        """Take the folder, and make it agree with the record.

        Parameters
        ----------
        most_orphans : int
            How many films can have been on their way when a service was killed.

        Raises
        ------
        FolderInUse, RecordUnavailable, OSError
        NotTogether
            Folder, record and keys are not of one service.
        """
        self._vault.hold()
        try:
            found = brought_together(self._vault, self._record, most_orphans)
        except BaseException:
            self._vault.let_go()
            raise
        self._films = {film_id: _held(kept, size) for film_id, (kept, size) in found.here.items()}
        self._orphans = found.orphans

    def start(self) -> None:
        """Begin to remove films that are too old."""
        self._sweeping = asyncio.create_task(self._sweep_now_and_then())

    async def stop(self) -> None:
        """Finish the films that are being kept, and leave the folder to others."""
        if self._sweeping:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await asyncio.gather(*self._keeping, return_exceptions=True)
        self._vault.let_go()

    # Of a rejection.

    def holds(self, film_id: str) -> bool:
        """Whether a film is here."""
        return film_id in self._films

    async def keep(self, decision: Decision, film_id: str, film: bytes) -> Recalled:
        """Keep a film, then write its decision, which names it; both are durable on return.

        A caller who leaves meanwhile stops neither; otherwise one could exist without the other.

        Raises
        ------
        QuarantineUnavailable, RecordUnavailable
            The service must not answer.
        """
        task = asyncio.create_task(self._keep(decision, film_id, film))
        self._keeping.add(task)
        task.add_done_callback(self._kept)
        return await asyncio.shield(task)

    def _kept(self, task: asyncio.Task[Recalled]) -> None:
        self._keeping.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have left

    async def _keep(self, decision: Decision, film_id: str, film: bytes) -> Recalled:
        self._coming += len(film)
        try:
            try:
                await self._make_room()
                size = await asyncio.to_thread(
                    self._vault.write, film_id, decision.subject.model_version, _about(decision), film
                )
            except (OSError, RecordUnavailable) as error:
                self._metrics.quarantine_failures.inc()
                log.error(
                    "a rejected film was not kept", extra={"error": str(error), "request_id": decision.request_id}
                )
                if not self._optional:
                    raise QuarantineUnavailable(
                        "a film of this request could not be kept; try again shortly"
                    ) from error
                return await self._writer.keep(decision)
            try:
                recalled = await self._writer.keep(replace(decision, film=film_id))
            except RecordUnavailable:
                self._unsure[film_id] = size
                raise
            if recalled.entry is not None and recalled.film == film_id:
                self._films[film_id] = _Held(recalled.entry, time.time(), "pending", size)
            else:
                self._unsure[film_id] = size
            return recalled
        finally:
            self._coming -= len(film)

    # Of a reviewer.

    async def film(self, film_id: str) -> KeptFilm:
        """The record's entries about a kept film.

        Raises
        ------
        NoSuchFilm, RecordUnavailable
        """
        found = await self._known([film_id]) if film_id in self._films else {}
        if film_id not in found:
            raise NoSuchFilm
        return found[film_id]

    async def page(self, state: FilmState | None, before: str | None, limit: int) -> list[tuple[KeptFilm, int]]:
        """Films and the bytes of their files, newest first, and at most `limit`.

        Parameters
        ----------
        state : {"pending", "released", "confirmed"} or None
            None: all.
        before : str or None
            Id of the last film of the previous page.

        Raises
        ------
        NoSuchFilm
            `before` was removed meanwhile.
        RecordUnavailable
        """
        if before is not None and before not in self._films:
            raise NoSuchFilm("there is no film with the id in 'before': start again from the first page")
        end = self._films[before].entry if before else None
        chosen = [
            (held.entry, film_id, held.size)
            for film_id, held in self._films.items()
            if state in {None, held.state} and (end is None or held.entry < end)
        ]
        newest = sorted(chosen, reverse=True)[:limit]
        known = await self._known([film_id for _, film_id, _ in newest])
        return [(known[film_id], size) for _, film_id, size in newest if film_id in known]

    async def read(self, film: KeptFilm) -> bytes:
        """The film's bytes, as they were posted.

        Raises
        ------
        FilmUnreadable
        """
        _, content = await asyncio.to_thread(self._vault.read, film.id, film.model_version)
        return content

    async def note(self, event: FilmEvent) -> None:
        """Write to the record that a film is about to be shown.

        Raises
        ------
        RecordUnavailable
            The film must not be shown.
        """
        await self._writer.note(event)

    async def decide(self, event: FilmEvent) -> KeptFilm:
        """Release or confirm a film; the same decision again changes nothing.

        Parameters
        ----------
        event : FilmEvent
            Of kind ``released`` or ``confirmed``.

        Raises
        ------
        NoSuchFilm, AlreadyDecided, RecordUnavailable
        """
        decided: Literal["released", "confirmed"] = "released" if event.kind == "released" else "confirmed"
        async with self._deciding:
            film = await self.film(event.film)
            if film.state == decided:
                return film
            if film.state != "pending":
                raise AlreadyDecided(film)
            await self._writer.note(event)
            self._metrics.quarantine_decisions.labels(decided).inc()
            if event.film in self._films:
                self._films[event.film] = replace(self._films[event.film], state=decided)
            return await self.film(event.film)

    async def _known(self, ids: Collection[str], *, whole: bool = False) -> dict[str, KeptFilm]:
        found = await asyncio.to_thread(partial(self._record.films, ids, whole=whole))
        return {film_id: film for film_id, film in found.items() if film.state != "removed"}

    # Of limits.

    @property
    def _bytes(self) -> int:
        return sum(held.size for held in self._films.values()) + sum(self._unsure.values())

    def _count(self, state: FilmState) -> int:
        return sum(held.state == state for held in self._films.values())

    async def _make_room(self) -> None:
        """Remove the oldest films until there is room for the next one."""
        surplus = self._bytes + self._coming - self._most_bytes
        leaving: dict[str, _Held] = {}
        if surplus > 0:
            for film_id, held in sorted(
                self._films.items(), key=lambda each: (each[1].state == "pending", each[1].entry)
            ):
                if surplus <= 0:
                    break
                leaving[film_id] = held
                surplus -= held.size
        await self._remove(leaving, "size")

    async def _remove(self, leaving: Mapping[str, _Held], reason: Literal["age", "size"]) -> None:
        """Write the removal of films to the record, then remove them."""
        for film_id in leaving:
            del self._films[film_id]  # at once, so that no other removal chooses it
        ids = list(leaving)
        for part in (ids[start : start + _REMOVED_AT_ONCE] for start in range(0, len(ids), _REMOVED_AT_ONCE)):
            try:
                await self._writer.note(*(FilmEvent("removed", film_id, ITSELF, reason=reason) for film_id in part))
            except RecordUnavailable:
                self._films |= {film_id: leaving[film_id] for film_id in ids[ids.index(part[0]) :]}
                raise
            self._metrics.quarantine_removed.labels(reason).inc(len(part))
            self._unsure |= {film_id: leaving[film_id].size for film_id in part}
            await asyncio.to_thread(self._vault.remove, *part)
            for film_id in part:
                self._unsure.pop(film_id, None)

    async def _sweep_now_and_then(self) -> None:
        while True:
            try:
                await self._sweep()
            except (RecordUnavailable, OSError) as error:
                log.error("the quarantine was not tidied", extra={"error": str(error)})
            oldest = min((held.kept_at for held in self._films.values()), default=time.time())
            left = oldest + self._seconds - time.time()
            await asyncio.sleep(min(max(left, 1.0), _SWEEP_SECONDS))

    async def _sweep(self) -> None:
        now = time.time()
        limit = now - self._seconds
        self._films = dated(self._films, now)
        await self._remove({film_id: held for film_id, held in self._films.items() if held.kept_at <= limit}, "age")
        await self._make_room()
        await self._make_sure()
        await self._let_orphans_go(limit)

    async def _let_orphans_go(self, limit: float) -> None:
        """Remove films that have lain aside since before `limit`. The record does not know them, so their "
        "removal has no entry."""
        orphans = await asyncio.to_thread(self._vault.orphans)
        old = [film_id for film_id, since in orphans.items() if since <= limit]
        if old:
            await asyncio.to_thread(self._vault.remove_orphans, *old)
            self._metrics.quarantine_removed.labels("orphan").inc(len(old))
            log.warning(
                "films that the record does not know have lain aside for long, and were removed",
                extra={"films": len(old)},
            )
        self._orphans = len(orphans) - len(old)

    async def _make_sure(self) -> None:
        """Ask the record again, after it failed, whether it has a film."""
        unsure = dict(self._unsure)
        if not unsure:
            return
        try:
            known = await self._known(list(unsure), whole=True)
        except UnsealedEntry as error:  # then nobody knows
            log.error("films are kept, though nobody sees them, until the record is whole", extra={"error": str(error)})
            return
        for film_id, size in unsure.items():
            if film_id in known:
                self._films[film_id] = _held(known[film_id], size)
            else:
                await asyncio.to_thread(self._vault.remove, film_id)
            self._unsure.pop(film_id, None)


def dated(films: Mapping[str, _Held], now: float) -> dict[str, _Held]:
    """Films, with times in the future corrected: such a film was kept under a wrong clock.

    Films are in order, so such a film is at least as old as the next one that was kept. If there is no next one, its time is now.
    """
    if all(held.kept_at <= now for held in films.values()):
        return dict(films)
    corrected, after = dict(films), now
    for film_id, held in sorted(films.items(), key=lambda each: each[1].entry, reverse=True):
        if held.kept_at > now:
            corrected[film_id] = replace(held, kept_at=after)
        else:
            after = held.kept_at
    return corrected


def _held(film: KeptFilm, size: int) -> _Held:
    return _Held(film.entry, datetime.fromisoformat(film.time).timestamp(), film.state, size)


def _about(decision: Decision) -> dict[str, Any]:
    """The data that are kept with a film. The record has them too; this copy is for somebody who has only the film."""
    return {
        "request_id": decision.request_id,
        "time": time.time(),
        "model_version": decision.subject.model_version,
        "source_kind": decision.source_kind,
        "log_density": decision.verdict.log_density,
        "percentile": decision.percentile,
        "caller": decision.caller,
        "pixels_hash": decision.subject.pixels_hash,
    }
