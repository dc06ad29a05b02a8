"""What fuzzing found, and the least inputs by which it reached each outcome, end as they promise."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_reached_ends_as_it_promises(name: str) -> None:
    outcomes = set()
    inputs = sorted((CORPUS / name).iterdir())
    assert len(inputs) > 20
    for path in inputs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of values that it doubts
            outcomes.add(TARGETS[name](path.read_bytes()))
    assert len(outcomes) > 4


def test_an_element_of_an_unknown_kind_in_the_meta_header_is_no_surprise() -> None:
    """It once ended the reading of the identity in an error of pydicom's own."""
    assert TARGETS["decode"]((CORPUS / "decode" / "unknown-vr-in-meta").read_bytes()) == "MalformedImage"
