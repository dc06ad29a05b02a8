"""The OpenAPI document: the declarations of the routes, and the parts that follow from them.

A route declares its own problems (``responses=problems("not-found")``), its scopes (``Security(require, scopes=[...])``) and its
parameters, which are typed. This module adds the problems that any route may answer, those of a route that needs a key, the
headers of answers, and the parts that answers refer to. It removes FastAPI's own 422: here that status means one thing only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from .middleware.foreign import OPEN_TO_ALL
from .problems import MEDIA_TYPE, PROBLEMS, problem_body
from .schemas import EXAMPLE_REQUEST, ProblemBody, Reason
from .wire.query import STRICT

Responses = dict[int | str, dict[str, Any]]

BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
#: Problems of a route that needs a key.
_OF_KEYS: Final = ("unauthenticated", "forbidden", "quota", "identity-provider-unavailable")
_REQUEST_ID: Final = "X-Request-ID"
_SERVICE_REQUEST_ID: Final = "X-Service-Request-ID"
_OF_QUOTAS: Final = ("RateLimit-Policy", "RateLimit")
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    _REQUEST_ID: {
        "description": "The request's id: the caller's own, if it sent one that can be carried, else the service's.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._~:+=/-]{1,128}$"},
    },
    _SERVICE_REQUEST_ID: {
        "description": "The service's id, where X-Request-ID is the caller's. It is the request_id of bodies, log and record.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "RateLimit-Policy": {
        "description": 'The caller\'s quota, if it has one: "caller";q=REQUESTS;w=SECONDS, so many in so many seconds.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left of it: "caller";r=REQUESTS;t=SECONDS, where t is until there are all of them again.',
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "What the key lacks (RFC 6750).", "schema": {"type": "string"}},
}


def problems(*slugs: str, also: Mapping[int, dict[str, Any]] | None = None) -> Responses:
    """The answers of a route that may answer these problems, by status.

    Parameters
    ----------
    also : mapping, optional
        Status -> content of other media types that its answer may have.

    Raises
    ------
    KeyError
        No problem has this slug.
    """
    responses: Responses = {}
    if unknown := set(slugs) - PROBLEMS.keys():
        raise KeyError(f"no problem: {', '.join(sorted(unknown))}")
    for slug, problem in PROBLEMS.items():
        if slug in slugs:
            response = responses.setdefault(problem.status, _problem_response())
            response["description"] = "; ".join(filter(None, [response["description"], problem.title]))
            response["content"][MEDIA_TYPE]["examples"][slug] = _ref("examples", slug)
            if problem.retry:
                response["headers"]["Retry-After"] = _ref("headers", "Retry-After")
            if slug in {"unauthenticated", "forbidden"}:
                response["headers"]["WWW-Authenticate"] = _ref("headers", "WWW-Authenticate")
    for status, content in (also or {}).items():
        responses[status]["content"].update(content)
    return responses


def binary(description: str, *media_types: str, headers: dict[str, Any] | None = None) -> Responses:
    """The 200 of a route that answers bytes."""
    content = dict.fromkeys(media_types, BINARY)
    return {200: {"description": description, "content": content, "headers": headers or {}}}


class Documented(FastAPI):
    """An application that completes its document."""

    @cached_property
    def _completed(self) -> dict[str, Any]:
        document = super().openapi()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(path, operation)
        components = document["components"]
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        components["schemas"].update({model.__name__: model.model_json_schema() for model in (ProblemBody, Reason)})
        components["headers"] = _HEADERS
        components["examples"] = {
            slug: {"summary": problem.title, "value": problem_body(slug, problem.meaning, EXAMPLE_REQUEST)}
            for slug, problem in PROBLEMS.items()
        }
        return document

    def openapi(self) -> dict[str, Any]:
        """The document of ``/openapi.json``."""
        return self._completed


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    named = {slug for response in responses.values() for slug in _slugs(response)}
    if "rejected-as-adversarial" not in named:
        responses.pop("422", None)
    named.add("internal-error")
    if path not in OPEN_TO_ALL:
        named.add("foreign-request")
    if path.startswith(STRICT):
        named.add("malformed-request")
    if "security" in operation:
        named.update(_OF_KEYS)
        # One of a route's scopes is enough; FastAPI writes them as if all of them were needed.
        ((scheme, scopes),) = operation["security"][0].items()
        operation["security"] = [{scheme: [scope]} for scope in scopes]
    for status, problem in problems(*named).items():
        response = responses.setdefault(str(status), {})
        response["description"] = problem["description"]
        for part in ("content", "headers"):
            response[part] = {**response.get(part, {}), **problem[part]}
    for response in responses.values():
        for header in (_REQUEST_ID, _SERVICE_REQUEST_ID, *(_OF_QUOTAS if "security" in operation else ())):
            response.setdefault("headers", {})[header] = _ref("headers", header)
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation.get("parameters", ()):
        _tidy(parameter["schema"])


def _tidy(schema: dict[str, Any]) -> None:
    """Tidy a parameter's schema: a query has no null (a caller leaves an unwanted parameter out), and name and description
    stand outside."""
    for outside in ("title", "description"):
        schema.pop(outside, None)
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    for kind in kinds:
        schema.update(kind)


def _slugs(response: dict[str, Any]) -> list[str]:
    return list(response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", ()))


def _problem_response() -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": schema_of(ProblemBody), "examples": {}}}
    return {"description": "", "content": content, "headers": {}}


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """The reference to a model in the document."""
    return _ref("schemas", model.__name__)


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
