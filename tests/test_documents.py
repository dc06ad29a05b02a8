"""docs/faults.md and docs/threat-model.md name tests that exist, and the latter's numbers are those of the reports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from app.http.wire.protocol import HEAD_SECONDS, MAX_HEAD_BYTES, MAX_HEADERS, READ_BYTES_A_SECOND, READ_SECONDS
from app.pipeline.dicom.metered import MAX_INFLATED_HEADER_BYTES
from app.pipeline.dicom.part10 import MAX_BYTES_PER_PIXEL
from app.pipeline.raster import MAX_JPEG_SCANS
from app.pipeline.stripping import MAX_PNG_CHUNKS
from benchmarks.soak import table
from research.threat_model import filled

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("document", ["docs/faults.md", "docs/threat-model.md"])
def test_every_test_that_is_named_exists(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text())
    assert len(named) > 20
    for file, test in named:
        functions = {
            node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert not test or test in functions, f"{file} has no {test}"


def test_the_threat_models_numbers_are_the_reports() -> None:
    document = (ROOT / "docs" / "threat-model.md").read_text()
    assert document == filled(document, ROOT)


def test_every_fault_names_a_test() -> None:
    table, _, _ = (ROOT / "docs/faults.md").read_text().partition("\n## ")
    rows = re.findall(r"^\| (?!fault|---)(.+?) \|.*\|(.*)\|$", table, re.MULTILINE)
    assert len(rows) > 15
    assert [fault for fault, shown in rows if not NAMED.search(shown)] == []


def test_the_limits_are_those_of_the_code_and_the_soaks_figures_its_reports() -> None:
    document = (ROOT / "docs" / "faults.md").read_text()
    for said in (
        f"{MAX_HEAD_BYTES // 1024} KiB, {MAX_HEADERS} lines, {HEAD_SECONDS:g} s",
        f"{READ_SECONDS:g} s, and 1 s for each {READ_BYTES_A_SECOND // 1024} KiB",
        f"{MAX_JPEG_SCANS}, {MAX_PNG_CHUNKS:,}",
        f"{MAX_BYTES_PER_PIXEL} bytes a pixel of that limit, and {MAX_INFLATED_HEADER_BYTES >> 20} MiB",
    ):
        assert f"| {said} |" in document
    assert document == table.filled(document, ROOT)
