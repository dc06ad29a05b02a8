"""Reading what a film can do without: a value that cannot be used is passed over, and a note names its tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.dataset import Dataset

from .tags import named

#: Errors of pydicom for a value that is not of its VR, and of Python for one that is no number.
UNREADABLE: Final = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, NotImplementedError)


def passed_over(keyword: str, why: str) -> str:
    """A note that a tag was not used."""
    return f"{named(keyword)} passed over: {why}"


def optional_numbers(dataset: Dataset, keyword: str, notes: list[str]) -> list[float]:
    """All values as numbers, which may be infinite; none, and a note, if one is no number."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return []
        parts = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]
        return [float(part) for part in parts]
    except UNREADABLE:
        notes.append(passed_over(keyword, "it holds no number"))
        return []


def optional_items(dataset: Dataset, keyword: str, notes: list[str]) -> list[Dataset]:
    """The items of a sequence; none, and a note, if the value is no sequence."""
    try:
        value = dataset.get(keyword)
    except UNREADABLE:
        value = "unreadable"
    if not value:
        return []
    items = [item for item in value if isinstance(item, Dataset)]
    if not items:
        notes.append(passed_over(keyword, "it is no sequence"))
    return items
