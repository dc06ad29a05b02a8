"""Links lead somewhere; docs/faults.md and docs/threat-model.md name tests that exist and numbers of the code and the reports."""

from __future__ import annotations

import ast
import re
import subprocess
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


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    return broken


def test_every_link_leads_somewhere() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pages = [ROOT / name for name in listed.split() if (ROOT / name).is_file()]
    assert len(pages) > 20
    assert {str(page.relative_to(ROOT)): broken for page in pages if (broken := broken_links(page))} == {}


def test_every_page_that_the_code_names_exists() -> None:
    listed = subprocess.run(
        ["git", "grep", "-hoE", r"docs/[a-z-]+\.md", "--", "*.py", "*.yml", "*.yaml", "*.toml", "Dockerfile", "*.conf"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    named = set(listed.split())
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []


def test_every_file_that_a_page_names_exists() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pages = [ROOT / name for name in listed.split() if name != "CHANGELOG.md" and (ROOT / name).is_file()]
    folders = "app|offline|research|benchmarks|scripts|deploy|docs|web|tests"
    named = {
        (page.relative_to(ROOT).as_posix(), path)
        for page in pages
        for path in re.findall(rf"`((?:{folders})/[\w./-]*[\w/])`", page.read_text())
    }
    assert len(named) > 100
    assert sorted((page, path) for page, path in named if not (ROOT / path).exists()) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One thing\n[a](page.md#one-thing) [b](#other) [c](gone.md) [d](https://example.org)\n")
    assert broken_links(page) == ["#other", "gone.md"]
