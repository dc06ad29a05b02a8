"""The frequency of each finding in the population for which probabilities shall hold."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import Final

from app.pipeline.labels import LABELS

from ..data.films import FilmsError

#: Prevalences in the 112,120 films of ChestX-ray14, by its labels (version 2020).
CHEST_XRAY14: Final = Path(__file__).with_name("chest_xray14.csv")


def read_prevalence(table: Path) -> dict[str, float]:
    """Finding -> share of films with it, from a CSV with the columns finding and prevalence.

    Raises
    ------
    FilmsError
        A finding is missing, or a share is not over 0 and under 1.
    """
    try:
        with table.open(newline="") as lines:
            found = {row["finding"]: float(row["prevalence"]) for row in csv.DictReader(lines)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise FilmsError(f"{table}: needs the columns finding and prevalence, with numbers: {error!r}") from error
    if missing := set(LABELS) - set(found):
        raise FilmsError(f"{table}: has no line for {', '.join(sorted(missing))}")
    if wrong := [name for name in LABELS if not 0 < found[name] < 1]:
        raise FilmsError(f"{table}: the prevalence of {', '.join(wrong)} is not over 0 and under 1")
    return {name: found[name] for name in LABELS}


def counted(metadata: Path) -> dict[str, int]:
    """Finding -> films with it, and "films" -> all of them, in ChestX-ray14's table of labels (``Data_Entry_2017*.csv.gz``)."""
    found: Counter[str] = Counter()
    with gzip.open(metadata, "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            found["films"] += 1
            found.update(row["Finding Labels"].split("|"))
    return {name: found[name] for name in ("films", *LABELS)}
