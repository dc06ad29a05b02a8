"""The pages' files: built from what is in web/, and served with a strict policy."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from tests.support.processes import ROOT
from tests.support.served import Served

SOURCES = ROOT / "web"
BUILT = ROOT / "app" / "http" / "static" / "page"


def test_the_built_files_are_of_these_sources() -> None:
    digest = hashlib.sha256()
    paths = (path for path in (SOURCES / "src").rglob("*") if path.is_file())
    for name, path in sorted((path.relative_to(SOURCES).as_posix(), path) for path in paths):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    built_from = (BUILT / "built-from.sha256").read_text().strip()
    assert built_from == digest.hexdigest(), "web/src has changed since it was built: make page"


#: What web/types.mjs makes types from: words, bounds and examples count for none.
SHAPE = {
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "items",
    "maxItems",
    "minItems",
    "oneOf",
    "prefixItems",
    "properties",
    "required",
    "type",
}


def shape_of(schema: Any) -> Any:
    if isinstance(schema, list):
        return [shape_of(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: shape_of(each) for name, each in value.items()} if key == "properties" else shape_of(value)
        for key, value in schema.items()
        if key in SHAPE
    }


def test_the_types_of_answers_are_those_of_the_openapi_document() -> None:
    schemas = json.loads((ROOT / "docs" / "openapi.json").read_text())["components"]["schemas"]
    shapes = {name: shape_of(schema) for name, schema in schemas.items()}
    told = json.dumps(shapes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(told.encode()).hexdigest()
    written = (SOURCES / "src" / "schemas.ts").read_text().splitlines()[1]
    assert written == f"// Shapes: {expected}", "answers have changed since web/src/schemas.ts was written: make page"


@pytest.mark.parametrize("path", ["/", "/ops"])
def test_a_page_loads_only_what_the_service_has(service: Served, path: str) -> None:
    page = service.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(loaded) == 3
    for link in loaded:
        assert link.startswith("/static/page/")
        answer = service.get(link)
        assert answer.status_code == 200, link
        assert answer.headers["content-security-policy"] == policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|<script>|style=| on\w+=", page.text)
