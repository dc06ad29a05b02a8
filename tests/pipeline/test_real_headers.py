"""The headers of 168,330 real films through the rules; what each should get was written beside it by a person."""

import csv
from pathlib import Path

import pytest
from pydicom import Dataset

from app.pipeline.dicom.rules import DEFAULT_RULES
from app.pipeline.dicom.suitability import require_chest_film
from app.pipeline.dicom.tags import READ_KEYWORDS
from app.pipeline.errors import UnsuitableImage

DATA = Path(__file__).parent / "data"

Row = dict[str, str]


def table(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def header(row: Row) -> Dataset:
    dataset = Dataset()
    dataset.Modality = "CR"
    for keyword, value in row.items():
        if keyword in READ_KEYWORDS and value:
            setattr(dataset, keyword, value)
    return dataset


def verdict(row: Row) -> str:
    """accepted, lateral or other."""
    try:
        require_chest_film(header(row), DEFAULT_RULES)
    except UnsuitableImage as error:
        return "lateral" if "lateral view" in str(error) else "other"
    return "accepted"


def identify(row: Row) -> str:
    return ",".join(row.values())


OPENI, PADCHEST = table(DATA / "openi_headers.csv"), table(DATA / "padchest_views.csv")


@pytest.mark.parametrize("row", [*OPENI, *PADCHEST], ids=identify)
def test_what_each_combination_gets(row: Row) -> None:
    assert verdict(row) == row["expected"]


def test_the_tables_are_whole() -> None:
    def films(rows: list[Row], expected: str) -> int:
        return sum(int(row["films"]) for row in rows if row["expected"] == expected)

    assert [films(OPENI, expected) for expected in ("accepted", "lateral", "other")] == [6586, 877, 6]
    assert [films(PADCHEST, expected) for expected in ("accepted", "lateral", "other")] == [132934, 27915, 12]


def test_mirrored_films_are_noted() -> None:
    """14 films of OpenI are."""
    mirrored = [row for row in OPENI if row["PatientOrientation"] == "R\\F"]
    assert [row["films"] for row in mirrored] == ["14"]
    notes, _ = require_chest_film(header(mirrored[0]), DEFAULT_RULES)
    assert "PatientOrientation (0020,0020) says that the film is mirrored" in notes[0]


def test_a_table_of_the_field(shared_data: Path) -> None:
    """A table of headers beside the shared films, read by the columns that are DICOM keywords, and judged by its own words."""
    path = shared_data / "field" / "openi_headers.csv"
    if not path.is_file():
        pytest.skip("the shared data have no field/openi_headers.csv")
    rows = table(path)
    if not rows or not {"BodyPartExamined", "ViewPosition"} <= set(rows[0]):
        pytest.skip("field/openi_headers.csv has other columns than DICOM keywords")
    for row in rows:
        view, body_part = row["ViewPosition"], row["BodyPartExamined"]
        if view in {"LL", "RL", "LATERAL", "LARGE LATERAL"}:
            assert verdict(row) != "accepted", row
        elif view in {"PA", "AP"} and (not body_part or "CHEST" in body_part):
            assert verdict(row) == "accepted", row
