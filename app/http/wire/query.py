"""Query parameters: a route under ``/v1`` or ``/dicomweb`` takes those that it declares, and no others.

A sender would not learn that a route ignored a parameter. Pages, documents, probes and ``/metrics`` take any parameter:
browsers, load balancers and Prometheus' ``params`` add their own, which mean nothing here.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from app.pipeline import LABELS

from ..problems import HttpError

STRICT: Final = ("/v1/", "/dicomweb/")
#: The error repeats a name only if it has this form: other names may hold anything.
_NAME: Final = re.compile("[A-Za-z_]{1,40}")


def _finding(name: str) -> str:
    if name not in LABELS:
        raise ValueError
    return name


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError
    return text


def _digits(text: object) -> object:
    if isinstance(text, str) and not re.fullmatch("[0-9]{1,19}", text):
        raise ValueError
    return text


def _truth(text: object) -> object:
    return {"true": True, "false": False}.get(text, "neither") if isinstance(text, str) else text


#: Takes digits only: pydantic alone would take "+1", " 1 " and "1_0" for numbers.
DIGITS: Final = BeforeValidator(_digits)
#: Takes "true" and "false" only: pydantic alone would take "on" and "1" for true.
Truth = Annotated[bool, BeforeValidator(_truth)]
PRINTABLE: Final = AfterValidator(_printable)
#: A finding's name.
FindingName = Annotated[str, AfterValidator(_finding), WithJsonSchema({"type": "string", "enum": list(LABELS)})]


async def require_known_query(request: Request) -> None:
    """Refuse parameters that the route does not know or that come twice; the error never repeats values.

    Raises
    ------
    HttpError
    """
    route = request.scope["route"]
    if not route.path.startswith(STRICT) or not request.query_params:
        return
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise HttpError(
                "malformed-request",
                f"{f'the query parameter {name}' if _NAME.fullmatch(name) else 'a query parameter'} is not known; "
                + (f"this path takes {', '.join(known)}" if known else "this path takes none"),
            )
        if count > 1:
            raise HttpError("malformed-request", f"the query parameter {name} is named more than once; name it once")


#: For all routes of an application.
KNOWN_QUERY: Final = Depends(require_known_query)


def refusal_of(request: Request, error: RequestValidationError) -> HttpError:
    """The error of a parameter that FastAPI refused, in the words of the OpenAPI document, without the parameter's value."""
    _, name = error.errors()[0]["loc"][:2]
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    (schema,) = (parameter["schema"] for parameter in operation["parameters"] if parameter["name"] == name)
    return HttpError("malformed-request", f"the query parameter {name} must be {_meant(schema)}")


def _meant(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "integer":
        return f"a number from {schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "boolean":
        return "true or false"
    return f"printable text of at most {schema['maxLength']} characters"
