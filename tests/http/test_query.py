"""Query parameters that no route knows: named in a 400, so that a typo is not a wish that is silently not met."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from app.pipeline.labels import LABELS
from tests.http.stowing import CONTENT_TYPE, STUDIES, answer_of, related
from tests.results.films import film
from tests.support.films import dicom, png
from tests.support.served import Served, assert_accepted, assert_problem


def post(service: Served, path: str) -> httpx.Response:
    return service.client.post(path, content=png(), headers={"Content-Type": "image/png"})


@pytest.mark.parametrize("path", ["/v1/decode?foo=secret", "/v1/decode?foo"])
def test_a_route_without_parameters_says_that_it_takes_none(service: Served, path: str) -> None:
    body = assert_problem(post(service, path), 400)
    assert body["type"] == "/problems/malformed-request"
    assert body["detail"] == "the query parameter foo is not known; this path takes none"


def test_a_typo_is_told_what_is_known(service: Served) -> None:
    detail = assert_problem(post(service, "/v1/score?heatmp=Mass"), 400)["detail"]
    assert detail == "the query parameter heatmp is not known; this path takes heatmap"
    for path in ("/v1/explain?findng=Mass", "/v1/explain?finding=Mass&findng=Mass"):
        detail = assert_problem(post(service, path), 400)["detail"]
        assert detail == "the query parameter findng is not known; this path takes finding"
    assert post(service, "/v1/explain?finding=Mass").status_code == 200


@pytest.mark.parametrize("query", ["", "?finding=", "?finding=mass", "?finding=Doe^Jane"])
def test_a_finding_that_is_none_is_told_which_there_are(service: Served, query: str) -> None:
    detail = assert_problem(post(service, f"/v1/explain{query}"), 400)["detail"]
    assert detail == f"the query parameter finding must be one of {', '.join(LABELS)}"


def test_a_parameter_that_is_named_twice_is_refused(service: Served) -> None:
    body = assert_problem(post(service, "/v1/explain?finding=Mass&finding=Nodule"), 400)
    assert "finding is named more than once" in body["detail"]


@pytest.mark.parametrize("name", ["Doe^Jane", "1.2.840.113619.2", "P-4711", "x" * 41, "%00", "file[]", "%ff"])
def test_a_name_that_may_be_anything_is_not_repeated(service: Served, name: str) -> None:
    body = assert_problem(post(service, f"/v1/score?{name}=1"), 400)
    assert body["detail"] == "a query parameter is not known; this path takes heatmap"


@pytest.mark.parametrize("path", [STUDIES, f"{STUDIES}/1.2.3"])
def test_stow_takes_none(service: Served, path: str) -> None:
    body = related([film(StudyInstanceUID="1.2.3")])

    def stow(query: str) -> httpx.Response:
        return service.client.post(path + query, content=body, headers={"Content-Type": CONTENT_TYPE})

    assert "query parameter x is" in assert_problem(stow("?x=1"), 400)["detail"]
    answer_of(stow(""), 200)


def test_operators_and_reviewers_routes_know_what_openapi_names(service: Served) -> None:
    """Without a key these are 403; a typo is told before that, and a known parameter is not taken for one."""
    document = service.get("/openapi.json").json()
    tried = 0
    for path, operations in document["paths"].items():
        if not path.startswith(("/v1/", "/dicomweb/")):
            continue
        for method, operation in operations.items():
            tried += 1
            filled = re.sub(r"\{\w+\}", "1", path)
            known = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
            detail = assert_problem(service.client.request(method, f"{filled}?typo=1"), 400)["detail"]
            assert detail.startswith("the query parameter typo is not known")
            assert all(name in detail for name in known)
            assert "400" in operation["responses"], path
            for name in known:
                answer = service.client.request(method, f"{filled}?{name}=1")
                assert "is not known" not in answer.text
    assert tried >= 15


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/ops",
        "/docs",
        "/openapi.json",
        "/healthz",
        "/readyz",
        "/metrics",
        "/static/page/viewer.js",
        "/problems/quota",
    ],
)
def test_pages_probes_and_metrics_take_any(service: Served, path: str) -> None:
    """Balancers append what caches do not know, Prometheus its params, and browsers what a link had."""
    for query in ("?_=1699999999", "?name[]=cxr_ready", "?utm_source=mail"):
        assert service.get(path + query).status_code == 200


def test_a_refused_query_harms_nobody_behind_it_on_the_connection(service: Served) -> None:
    with httpx.Client(base_url=service.client.base_url) as client:
        answers: list[Any] = []
        for path in ("/v1/score?foo=1", "/v1/score"):
            answers.append(client.post(path, content=dicom(), headers={"Content-Type": "application/dicom"}))
    assert_problem(answers[0], 400)
    assert_accepted(answers[1])
