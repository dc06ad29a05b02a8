"""A site's clean films: a folder, and optionally a table of patients and groups."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..data.films import Film, FilmsError

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


@dataclass(frozen=True)
class Site:
    """Films of one site, and what is known of each.

    Attributes
    ----------
    films : list of Film
        Without labels, which recalibration does not need.
    groups : list of tuple of str
        Each film's groups: ``column value`` of the table, such as ``view AP``.
    sha256 : str
        Digest over the files' contents. It identifies the films, and names no patient.
    repeats : int
        Number of files left out, since another file has the same bytes.
    patients_known : bool
        False: no table names the patients, and each film counts as a separate patient.
    """

    films: list[Film]
    groups: list[tuple[str, ...]]
    sha256: str
    repeats: int
    patients_known: bool

    @property
    def scanners(self) -> NDArray[np.str_]:
        """The table's ``scanner`` of each film, shape (N,); empty where there is none."""
        named = [[group for group in groups if group.startswith("scanner ")] for groups in self.groups]
        return np.array([names[0] if names else "" for names in named])

    @property
    def patients(self) -> int:
        """The number of patients."""
        return len({film.patient for film in self.films})


def read_site(folder: Path, table: Path | None, target: float) -> Site:
    """List a folder's PNG, JPEG and DICOM files, subfolders too.

    Parameters
    ----------
    table : Path or None
        CSV with the column ``file`` (path within the folder), optionally ``patient``; every other column is a group. Films
        of one ``scanner`` are compared among themselves when the films are checked for attacks.
    target : float
        False-rejection rate; it determines how many films are needed.

    Raises
    ------
    FilmsError
        No films or too few, or a table that does not fit the folder.
    """
    if not folder.is_dir():
        raise FilmsError(f"{folder} is no folder; name the one that holds the site's films")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows = _read_table(table, names) if table is not None else [{} for _ in names]
    known = any("patient" in row for row in rows)
    films, groups, digests = [], [], set()
    for path, name, row in zip(paths, names, rows, strict=True):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in digests:  # in two folds, it would be judged by a Gaussian that has seen it
            continue
        digests.add(digest)
        films.append(Film(path, row.pop("patient", name), "val", (), (), "", "", -1))
        groups.append(tuple(f"{column} {value}" for column, value in row.items() if value and column != "file"))
    needed = least_films(target)
    if len(films) < needed:
        raise FilmsError(
            f"{len(films)} films of the site are too few for a false-rejection rate of {target:g}: at least {needed} are needed "
            f"for the threshold alone, and some {8 * needed} for a gate that detects as before (docs/recalibration.md)"
        )
    sha256 = hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
    return Site(films, groups, sha256, len(paths) - len(films), known)


def least_films(target: float) -> int:
    """Fewest films from which a threshold for a false-rejection rate of `target` can be taken."""
    return math.ceil(1 / target) - 1


def _read_table(table: Path, names: list[str]) -> list[dict[str, str]]:
    if not table.is_file():
        raise FilmsError(f"{table} is not there")
    with table.open(newline="") as stream:
        lines = csv.DictReader(stream)
        if "file" not in (lines.fieldnames or ()):
            raise FilmsError(f"{table} has no column 'file', which names each film by its path within the folder")
        rows = {row["file"]: row for row in lines}
    unlisted, absent = [name for name in names if name not in rows], rows.keys() - set(names)
    if unlisted or absent:
        raise FilmsError(
            f"{table} and the folder differ: {len(unlisted)} films are not in the table"
            + (f" (first: {unlisted[0]})" if unlisted else "")
            + f", {len(absent)} rows have no film"
            + (f" (first: {min(absent)})" if absent else "")
        )
    if any(not row.get("patient", "x") for row in rows.values()):
        raise FilmsError(f"{table} has rows without a patient; fill them in, or leave the column out")
    return [rows[name] for name in names]
