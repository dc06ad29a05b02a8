"""docs/faults.md and docs/threat-model.md name tests that exist, and the latter's numbers are those of the reports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from offline.threat_model import filled

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
    rows = re.findall(r"^\| (?!fault|---)(.+?) \|.*\|(.*)\|$", (ROOT / "docs/faults.md").read_text(), re.MULTILINE)
    assert len(rows) > 15
    assert [fault for fault, shown in rows if not NAMED.search(shown)] == []
