"""Kept films -> files in clear, for ``cxr-offline recalibrate``. The record says who did so before the first file is written."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Final

from app.records import FilmEvent, FilmState, Record

from .vault import FilmUnreadable, Vault

SUFFIX_OF: Final = {"png": ".png", "jpeg": ".jpg", "dicom": ".dcm"}
ROUTE: Final = "cxr-gate export-quarantine"


def export_films(record: Record, vault: Vault, state: FilmState, out: Path) -> tuple[int, list[str]]:
    """Write the films of a state to an empty folder, as they were posted.

    Returns
    -------
    int
        How many films were written.
    list of str
        For each of the others, what was wrong.

    Raises
    ------
    RecordUnavailable
        Nothing was written.
    OSError
    FileExistsError
        The folder is not empty: its films would be taken for released ones.
    """
    here = vault.sizes()
    films = [film for film in record.films().values() if film.state == state and film.id in here]
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(0, "it is not empty")
    if films:
        record.write([FilmEvent("exported", film.id, getpass.getuser(), route=ROUTE) for film in films])
    faults = []
    for film in films:
        try:
            _, content = vault.read(film.id, film.model_version)
        except FilmUnreadable as error:
            faults.append(f"{film.id}: {error}")
            continue
        path = out / (film.id + SUFFIX_OF[film.source_kind])
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
    return len(films) - len(faults), faults
