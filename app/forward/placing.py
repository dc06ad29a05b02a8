"""A report -> Orthanc, but not under a UID under which Orthanc has something else.

Orthanc silently keeps the instance that it already has under a UID. Somebody who received a report could have stored
another under its UID first.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from .errors import Fault, TooLarge
from .orthanc import ORTHANC, Orthanc


class Placed(NamedTuple):
    """Where a report was stored: Orthanc's name of it, whether it is new, and whether Orthanc has another under its UID."""

    instance: str
    new: bool
    conflict: bool


async def place(orthanc: Orthanc, report: bytes) -> Placed:
    """Store a report unless Orthanc has it. If Orthanc has another under its UID, store it beside that one.

    Raises
    ------
    Passing, Fault, Misconfigured
    """
    stored = await orthanc.store(report)
    if stored.new:
        return Placed(stored.instance, new=True, conflict=False)
    from app.statements import says_the_same  # it needs pydicom, which a forwarder without repeats never loads

    theirs = await _fetched(orthanc, stored.instance)
    if theirs is None:
        raise Fault("Orthanc had the report a moment ago, and no longer has it", ORTHANC)
    if await asyncio.to_thread(says_the_same, report, theirs):
        return Placed(stored.instance, new=False, conflict=False)
    return await _beside(orthanc, report)


async def _fetched(orthanc: Orthanc, instance: str) -> bytes | None:
    """An instance that may be a report; None if it is far too large for one."""
    try:
        return await orthanc.film(instance)
    except TooLarge:
        return b""


async def _beside(orthanc: Orthanc, report: bytes) -> Placed:
    """Store a report under another UID, unless the study already has one that says the same.

    The UID is random: somebody could foresee and take one that is made from data in Orthanc.
    """
    from pydicom.uid import generate_uid

    from app.statements import another, says_the_same, study_of

    second = another(report, generate_uid(prefix=None), generate_uid(prefix=None))
    study = study_of(report)
    for name in await orthanc.reports(study):
        found = await _fetched(orthanc, name)
        if found is not None and await asyncio.to_thread(says_the_same, second, found, under_one_uid=False):
            return Placed(name, new=False, conflict=True)
    return Placed((await orthanc.store(second)).instance, new=True, conflict=True)
