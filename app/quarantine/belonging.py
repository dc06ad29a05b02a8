"""The folder and the record, brought together at the start: what does not belong to the record stays, but aside.

    the record has the film                 it is here; one that lay aside is brought back
    the record says that it was removed     its removal is finished
    the record does not know it             it is put among the orphans, which are removed when they are too old

A film that the record does not know was on its way when the service ended. Or the record is an older copy, or an
empty one, and the decisions on these films are lost. Nothing here can tell the two apart, so nothing is deleted.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from app.records import KeptFilm, Record, UnsealedEntry

from .vault import MARK, ORPHANS, Vault

log = logging.getLogger("cxr_gate")


class NotTogether(Exception):
    """Folder, record and keys do not belong to one service; the message says which is wrong, and what to do."""


class Found(NamedTuple):
    """Films in the folder, with the bytes of their files, and the number of films that lie aside."""

    here: dict[str, tuple[KeptFilm, int]]
    orphans: int


def brought_together(vault: Vault, record: Record, most_orphans: int) -> Found:
    """Make a folder agree with the record; the folder must be held.

    Parameters
    ----------
    vault : Vault
    record : Record
    most_orphans : int
        How many films can have been on their way when a service was killed.

    Raises
    ------
    NotTogether
        Nothing was moved.
    RecordUnavailable, OSError
    """
    marked = vault.record_key_id()
    if marked not in {None, record.key.id}:
        raise NotTogether(
            f"its films are of a record under another key: the id of theirs is {marked}, and that of CXR_RECORD_KEY_FILE is "
            f"{record.key.id}. Name the record of these films and its key, or an empty folder; remove the file {MARK} in it "
            "only if these films are to go on under the other key, which knows none of them"
        )
    try:
        known = record.films(whole=True)
    except UnsealedEntry as error:
        raise NotTogether(
            f"{error}: it was changed or forged, so nobody knows what was decided on the film. Run cxr-gate verify-record, "
            "and put the record back from a backup; the films wait"
        ) from error
    sizes, aside = vault.sizes(), vault.orphans()
    kept = {film_id: film for film_id, film in known.items() if film.state != "removed"}
    unknown = sizes.keys() - known.keys()
    if len(unknown) > most_orphans and len(unknown) == len(sizes):
        raise NotTogether(
            f"the record knows none of the {len(unknown)} films that are there. Name the record of these films, or an empty "
            "folder"
        )
    if sizes and (unreadable := vault.without_key(sizes)):
        if unreadable == len(sizes):
            raise NotTogether(
                f"the keys of the quarantine open none of its {unreadable} films. Name the key that they were encrypted with: "
                "in CXR_QUARANTINE_KEY_FILE the first line encrypts, and older keys stay on the lines below"
            )
        log.error("films in quarantine need a key that is not among the keys", extra={"films": unreadable})
    here = sizes.keys() & kept.keys()
    back = aside.keys() & kept.keys() - sizes.keys()
    vault.bring_back(*back)
    vault.set_aside(*unknown)
    vault.remove(*(sizes.keys() & known.keys() - kept.keys()))
    if marked is None and (
        here or not aside.keys() | unknown
    ):  # if the record knows none of them, nobody knows yet whose films they are
        vault.note_record_key_id(record.key.id)
    if unknown:
        log.error(
            f"films in quarantine that the record does not know were put into the folder {ORPHANS}: they were on their way "
            "when the service ended, or the record is an older copy. They come back under the record that knows them",
            extra={"films": len(unknown)},
        )
    if back:
        log.warning("films that lay aside are known to the record, and were brought back", extra={"films": len(back)})
    sizes = vault.sizes()
    missing = len(kept.keys() - sizes.keys())
    if missing:
        log.error("films that the record says are kept are not in the folder", extra={"films": missing})
    films = {film_id: (kept[film_id], sizes[film_id]) for film_id in sizes.keys() & kept.keys()}
    orphans = len((aside.keys() - back) | unknown)
    log.info("the quarantine is opened", extra={"films": len(films), "set_aside": len(unknown), "orphans": orphans})
    return Found(films, orphans)
