"""``cxr-gate check-headers``: which headers of a site's archive would be refused, by a table, before a film is sent."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from app.pipeline.dicom.projection import DESCRIPTIONS, EXPECTED_TAGS
from app.pipeline.dicom.rules import HeaderRules
from app.pipeline.dicom.suitability import require_chest_film
from app.pipeline.errors import UnsuitableImage

#: Columns that the check reads. Code sequences have no place in a table.
COLUMNS: Final = (
    "Modality",
    "PresentationIntentType",
    *EXPECTED_TAGS,
    "PatientOrientation",
    *(keyword for rank in DESCRIPTIONS for keyword in rank),
    "PatientSpeciesDescription",
    "AnatomicalOrientationType",
)
FILMS: Final = "films"


class TableError(Exception):
    """A table that cannot be read; the message says why."""


def checked(table: Path, rules: HeaderRules) -> Iterator[str]:
    """Lines for a person: each combination of headers, its count of films, its verdict and why; then the sum.

    Parameters
    ----------
    table : Path
        CSV in UTF-8; columns are DICOM keywords, and ``films`` counts (1 where there is no such column).

    Raises
    ------
    TableError
    """
    combinations, unused = _read(table)
    if unused:
        yield f"not looked at: {', '.join(unused)}"
    films: Counter[str] = Counter()
    for values, count in combinations.most_common():
        verdict, reasons = _judged(values, rules)
        films[verdict] += count
        shown = " ".join(f"{keyword}={value}" for keyword, value in zip(COLUMNS, values, strict=True) if value)
        yield f"{count:>8}  {verdict}  {shown}"
        yield from (f"{'':8}            {reason}" for reason in reasons)
    yield (
        f"{films.total():,} films in {len(combinations):,} combinations: {films['accepted']:,} accepted, "
        f"{films['refused ']:,} refused by their headers. Pixels were not looked at."
    )


def _read(table: Path) -> tuple[Counter[tuple[str, ...]], list[str]]:
    combinations: Counter[tuple[str, ...]] = Counter()
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            if "Modality" not in columns:
                raise TableError(f"{table} has no column Modality; the first line must name DICOM keywords")
            for row in reader:
                count = int(row.get(FILMS) or 1)
                combinations[tuple((row.get(keyword) or "").strip() for keyword in COLUMNS)] += count
    except (OSError, UnicodeError, csv.Error, ValueError) as error:
        raise TableError(f"{table} is no table in CSV and UTF-8: {error}") from error
    return combinations, [column for column in columns if column not in (*COLUMNS, FILMS)]


def _judged(values: tuple[str, ...], rules: HeaderRules) -> tuple[str, tuple[str, ...]]:
    header = Dataset()
    for keyword, value in zip(COLUMNS, values, strict=True):
        if value:
            setattr(header, keyword, value)
    try:
        notes, _ = require_chest_film(header, rules)
    except UnsuitableImage as error:
        return "refused ", (str(error),)
    return "accepted", notes
