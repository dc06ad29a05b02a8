"""What OpenAPI says of answers that routes share."""

from __future__ import annotations

from typing import Any, Final

from .problems import MEDIA_TYPE, OPERATORS_PROBLEMS, PROBLEMS
from .schemas import ProblemBody

PROBLEM: Final[dict[str, Any]] = {"content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}}}
BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
#: Of a route that needs a key.
ACCESS_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    401: {**PROBLEM, "description": "unauthenticated"},
    403: {**PROBLEM, "description": "forbidden"},
    429: {**PROBLEM, "description": "quota"},
    503: {**PROBLEM, "description": "identity provider unavailable"},
}


def film_problems() -> dict[int | str, dict[str, Any]]:
    """What a film may be answered beside 200, by status."""
    described: dict[int, str] = {}
    for slug, problem in PROBLEMS.items():
        if problem.status not in {404, 405, 409, 410} and slug not in OPERATORS_PROBLEMS:
            described[problem.status] = "; ".join(filter(None, [described.get(problem.status), problem.title]))
    return {status: {**PROBLEM, "description": meaning} for status, meaning in described.items()}
