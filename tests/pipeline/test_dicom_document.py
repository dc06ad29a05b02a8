"""docs/dicom.md speaks of every transfer syntax and every tag that is read, and of tests that exist."""

import re
from pathlib import Path

from app.pipeline.dicom.codecs import CODECS
from app.pipeline.dicom.metered import MAX_READS
from app.pipeline.dicom.part10 import MAX_LUT_ITEMS, NATIVE
from app.pipeline.dicom.stored import MAX_FRAGMENTS
from app.pipeline.dicom.tags import READ_KEYWORDS, named

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/dicom.md").read_text()


def test_it_names_every_transfer_syntax_that_is_read_and_no_other() -> None:
    assert set(re.findall(r"\| (1\.2\.840\.10008\.1\.2[.\d]*) \|", TEXT)) == {str(one) for one in NATIVE | set(CODECS)}


def test_it_names_every_tag_that_is_read() -> None:
    assert [named(keyword) for keyword in READ_KEYWORDS if named(keyword) not in TEXT] == []


def test_the_tests_and_bounds_that_it_names_are_real() -> None:
    for path in re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)`", TEXT):
        assert (ROOT / path).is_file() or (ROOT / "tests/pipeline" / path).is_file(), path
    for bound in (f"{MAX_READS:,} reads", f"{MAX_LUT_ITEMS} items", f"{MAX_FRAGMENTS:,} fragments"):
        assert bound in TEXT.replace("\n", " ")
