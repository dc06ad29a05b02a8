"""Labelled folders of X-rays: find the files, read the labels, split by patient."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.pipeline.labels import LABELS

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SplitRule = Literal["auto", "column", "patient", "paper"]
CHEST_XRAY14_IMAGES = 112_120  # in the NIH's whole data set


class FilmsError(Exception):
    """A folder or table of films cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Film:
    """One labelled X-ray.

    ``targets`` has one 0 or 1 for each of ``LABELS``; ``age`` is in years, -1 where unknown.
    """

    path: Path
    patient: str
    split: Split
    targets: tuple[int, ...]
    findings: tuple[str, ...]
    view: str
    sex: str
    age: int

    @property
    def groups(self) -> tuple[str, str, str]:
        """View, sex and age band: the groups for which rates are reported."""
        bands = ((0, "unknown"), (40, "under 40"), (60, "40 to 59"))
        age = next((words for below, words in bands if self.age < below), "60 and over")
        return f"view {self.view or 'unknown'}", f"sex {self.sex or 'unknown'}", f"age {age}"


def read_films(
    folder: Path,
    *,
    split_rule: SplitRule = "auto",
    paper_split: Path | None = None,
    seed: int = 0,
    need_images: bool = True,
) -> list[Film]:
    """Read every labelled film of a folder.

    The folder has one of two layouts. It holds a ``labels.csv``, with images beside it or in ``images/``; or it has
    the NIH's own layout (``Data_Entry_2017*.csv[.gz]`` beside ``images_001/images`` ... ``images_012/images``).
    Both tables have the NIH's columns.

    Parameters
    ----------
    split_rule : {"auto", "column", "patient", "paper"}
        ``column``: the table's column ``split``. ``paper``: the list in `paper_split`
        (``Image Index,split``). ``patient``: 70/10/20 % by a hash of the patient and `seed`.
        ``auto``: ``column`` if the table has it, else ``paper`` if `paper_split` is given, else ``patient``.
    need_images : bool
        False: images may be missing; the path of a missing image says where it would be.

    Raises
    ------
    FilmsError
        No table, a missing column, an unknown finding, a missing image, or a patient in two splits.
    """
    table = _find_table(folder)
    rows = list(_read_rows(table))
    if not rows:
        raise FilmsError(f"{table} has no rows")
    missing = {"Image Index", "Finding Labels", "Patient ID"} - rows[0].keys()
    if missing:
        raise FilmsError(f"{table} lacks the column(s) {', '.join(sorted(missing))}; it needs the NIH's column names")
    splits = _split_of_each(rows, split_rule, paper_split, seed)
    files = _index_images(folder)
    films = []
    absent = []
    for row, split in zip(rows, splits, strict=True):
        name = row["Image Index"]
        if name not in files:
            absent.append(name)
        films.append(_film(row, split, files.get(name, folder / "images" / name), table))
    if absent and need_images:
        raise FilmsError(
            f"{len(absent)} of {len(rows)} images listed in {table} are not under {folder} (first: {absent[0]}); "
            "expected in images/, images_001/images/ ... or beside the table"
        )
    _require_patients_apart(films)
    return films


def of_split(films: list[Film], split: Split) -> list[Film]:
    """Films of one split. An empty split raises FilmsError, since nothing can be measured on it."""
    chosen = [film for film in films if film.split == split]
    if not chosen:
        raise FilmsError(f"no film is in the split '{split}'")
    return chosen


def evenly(count: int, wanted: int) -> NDArray[np.intp]:
    """Indices of at most `wanted` films, evenly spread over `count`. Nothing is drawn at random, so runs agree."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.intp))


def some_of(films: list[Film], wanted: int) -> list[Film]:
    """At most `wanted` films, evenly spread."""
    return [films[index] for index in evenly(len(films), wanted)]


def patients_of(films: list[Film]) -> NDArray[np.str_]:
    """The patient of each film, shape (N,)."""
    return np.array([film.patient for film in films])


def targets_of(films: list[Film]) -> NDArray[np.float32]:
    """Targets, shape (N, L), float32, 0 or 1."""
    return np.array([film.targets for film in films], dtype=np.float32)


def fingerprint(films: list[Film]) -> str:
    """SHA-256 over names, labels and splits. It identifies the data that made a model, and names no patient."""
    lines = sorted(f"{film.path.name}|{'|'.join(film.findings)}|{film.split}" for film in films)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _find_table(folder: Path) -> Path:
    candidates = [folder / "labels.csv", *sorted(folder.glob("Data_Entry_2017*.csv*"))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FilmsError(f"{folder} has neither labels.csv nor Data_Entry_2017*.csv: name the folder that holds the table")


def _read_rows(table: Path) -> Iterator[dict[str, str]]:
    opener = gzip.open if table.suffix == ".gz" else open
    with opener(table, "rt", newline="") as stream:
        yield from csv.DictReader(stream)


def _index_images(folder: Path) -> dict[str, Path]:
    places = [folder, folder / "images", *sorted(folder.glob("images_*/images"))]
    return {
        path.name: path
        for place in places
        if place.is_dir()
        for path in place.iterdir()
        if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".dcm"}
    }


def _film(row: dict[str, str], split: Split, path: Path, table: Path) -> Film:
    findings = tuple(row["Finding Labels"].split("|"))
    unknown = set(findings) - set(LABELS) - {"No Finding"}
    if unknown:
        raise FilmsError(f"{table}: unknown finding '{min(unknown)}'; known are {', '.join(LABELS)} and No Finding")
    age = re.match(r"\d+", row.get("Patient Age") or "")  # the 2017 table writes 058Y, the 2020 table 58
    return Film(
        path=path,
        patient=row["Patient ID"],
        split=split,
        targets=tuple(int(label in findings) for label in LABELS),
        findings=findings,
        view=row.get("View Position") or "",
        sex=row.get("Patient Gender") or row.get("Patient Sex") or "",
        age=int(age.group()) if age else -1,
    )


def _split_of_each(rows: list[dict[str, str]], rule: SplitRule, paper_split: Path | None, seed: int) -> list[Split]:
    if rule == "auto":
        rule = "column" if "split" in rows[0] else "paper" if paper_split else "patient"
    if rule == "patient":
        return [_patient_split(row["Patient ID"], seed) for row in rows]
    if rule == "paper":
        if paper_split is None:
            raise FilmsError("the paper's split needs its list: --paper-split FILE (Image Index,split)")
        listed = {row["Image Index"]: row["split"] for row in _read_rows(paper_split)}
        names = [listed.get(row["Image Index"], "") for row in rows]
    else:
        names = [row.get("split", "") for row in rows]
    splits: list[Split] = []
    for row, name in zip(rows, names, strict=True):
        if name not in SPLITS:
            raise FilmsError(
                f"image {row['Image Index']} has the split '{name}'; it must be one of {', '.join(SPLITS)}"
            )
        splits.append(name)
    return splits


def _patient_split(patient: str, seed: int) -> Split:
    """A patient's split depends on the patient and the seed alone, so that more films move no patient to another split."""
    fraction = int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:8], "big") / 2**64
    return "train" if fraction < 0.7 else "val" if fraction < 0.8 else "test"


def _require_patients_apart(films: list[Film]) -> None:
    first: dict[str, Split] = {}
    for film in films:
        if first.setdefault(film.patient, film.split) != film.split:
            raise FilmsError(
                f"a patient has films in both '{first[film.patient]}' and '{film.split}'; "
                "splits must be by patient, or the test figures are worth nothing"
            )
