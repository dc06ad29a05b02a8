"""Is Orthanc's log of changes still the one that was followed? It is, if it still has the changes that were read before.

A number alone is not enough: an Orthanc that was restored from a backup gives the same numbers to other changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .orthanc import Change, Page

#: same: the newest change that was read is there. unknown: it is not, and no other is in its place: its resource was deleted, or
#: the log was cleared. restored: another is in its place, or the log has not come so far, and an older one is there: a backup was
#: restored. another: none of those that were read is there.
Lineage = Literal["same", "unknown", "restored", "another"]


@dataclass(frozen=True)
class Anchor:
    """A change that was read: its number, and a digest of its content, since the content names a resource."""

    sequence: int
    digest: str

    @classmethod
    def of(cls, change: Change) -> Anchor:
        """The anchor of a change."""
        about = "\n".join((change.kind, change.resource, change.date))
        return cls(change.sequence, hashlib.sha256(about.encode()).hexdigest())


def thinned(anchors: Sequence[Anchor]) -> tuple[Anchor, ...]:
    """The newest of the anchors, and ever fewer of the older ones: the oldest at each distance from 2^n to 2^(n+1) changes."""
    if not anchors:
        return ()
    newest = anchors[-1]
    kept = {(newest.sequence - each.sequence).bit_length(): each for each in reversed(anchors)}
    return tuple(sorted(kept.values(), key=lambda each: each.sequence))


async def lineage(anchors: Sequence[Anchor], read: Callable[[int], Awaitable[Page]]) -> Lineage:
    """What happened to the log since these changes were read from it.

    Parameters
    ----------
    anchors : sequence of Anchor
        In order. Without any, nothing can be said.
    read : callable
        Gives the changes after a number.
    """
    if not anchors:
        return "unknown"
    newest = anchors[-1]
    page = await read(newest.sequence - 1)
    there = _at(newest, page)
    if there:
        return "same"
    if there is None and page.last >= newest.sequence:
        return "unknown"
    return "restored" if await surviving(anchors[:-1], read) else "another"


async def surviving(anchors: Sequence[Anchor], read: Callable[[int], Awaitable[Page]]) -> list[Anchor]:
    """Those of the changes that are still there, in order."""
    return [anchor for anchor in anchors if _at(anchor, await read(anchor.sequence - 1))]


def _at(anchor: Anchor, page: Page) -> bool | None:
    """Whether the change is there; None if no change has its number."""
    first = page.changes[0] if page.changes else None
    if first is None or first.sequence != anchor.sequence:
        return None
    return Anchor.of(first) == anchor
