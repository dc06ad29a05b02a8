"""Query parameters: a route under ``/v1`` or ``/dicomweb`` takes those that its OpenAPI description names, and no others.

A parameter that is ignored is a wish that is not met, and its sender does not learn of it. Pages, documents, probes and
``/metrics`` take any: browsers, load balancers and Prometheus' ``params`` add theirs, and none of them means anything here.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from fastapi import Depends, Request

from ..problems import HttpError

STRICT: Final = ("/v1/", "/dicomweb/")
#: Other names are not repeated: they may hold anything.
_NAME: Final = re.compile("[A-Za-z_]{1,40}")


async def require_known_query(request: Request) -> None:
    """Refuse what the route does not know, and what is named twice; values are never repeated.

    Raises
    ------
    HttpError
    """
    route = request.scope["route"]
    if not route.path.startswith(STRICT) or not request.query_params:
        return
    declared: list[dict[str, Any]] = (route.openapi_extra or {}).get("parameters", [])
    known = [parameter["name"] for parameter in declared if parameter["in"] == "query"]
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
