"""The OpenAPI document: kept in docs/, fit for generated clients, and what it says of problems is what their table says."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.http.problems import PROBLEMS
from scripts.openapi import DOCUMENT, document

KEPT: dict[str, Any] = json.loads(DOCUMENT.read_text())
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in KEPT["paths"].items()
    for method, operation in operations.items()
]


def test_the_document_in_docs_is_that_of_the_routes() -> None:
    """A change of the contract is seen in review, where its diff stands beside the code."""
    changes = "".join(
        difflib.unified_diff(
            DOCUMENT.read_text().splitlines(keepends=True),
            document().splitlines(keepends=True),
            "docs/openapi.json",
            "the routes",
        )
    )
    assert not changes, f"the contract changed; if it should, run python -m scripts.openapi and commit\n{changes}"


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(KEPT))
    assert len(found) > 40
    for reference in found:
        part: Any = KEPT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert part


def test_operations_have_names_for_generated_clients() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z]+(_[a-z]+){0,4}", name) for name in names)
    tags = {tag["name"] for tag in KEPT["tags"]}
    assert all(set(operation["tags"]) <= tags and len(operation["tags"]) == 1 for _, operation in OPERATIONS)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_every_answer_is_described(name: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        assert "X-Request-ID" in response["headers"]
        problem = response["content"].get("application/problem+json")
        assert problem or status in {"200", "202", "409"}
        if problem is None:
            continue
        assert problem["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
        slugs = list(problem["examples"])
        assert {str(PROBLEMS[slug].status) for slug in slugs} == {status}
        assert response["description"] == "; ".join(PROBLEMS[slug].title for slug in slugs)
        assert ("Retry-After" in response["headers"]) == any(PROBLEMS[slug].retry for slug in slugs)
    assert ("401" in operation["responses"]) == ("security" in operation)


def test_every_problem_has_an_example_that_is_one() -> None:
    examples = KEPT["components"]["examples"]
    assert set(examples) == set(PROBLEMS)
    required = set(KEPT["components"]["schemas"]["ProblemBody"]["required"])
    for slug, problem in PROBLEMS.items():
        value = examples[slug]["value"]
        assert set(value) == required
        assert (value["type"], value["status"]) == (f"/problems/{slug}", problem.status)
    answered = {reference.rpartition("/")[2] for reference in references(KEPT) if "/examples/" in reference}
    # Of paths and methods that are not there.
    assert set(PROBLEMS) - answered == {"method-not-allowed"}
