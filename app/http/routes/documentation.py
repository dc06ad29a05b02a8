"""``/docs`` and ``/problems/...``: pages for people who write clients. They have their own Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from ..problems import PROBLEMS, HttpError
from .pages import HEADERS

_SWAGGER_UI: Final = Path(__file__).parents[1] / "static" / "swagger-ui"
_NOWHERE_ELSE: Final = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE: Final = "body{font:1rem/1.5 system-ui;max-width:42rem;margin:3rem auto;padding:0 1rem}"
_SCRIPTS: Final = re.compile("<script>(.*?)</script>", re.DOTALL)


def add_documentation(application: FastAPI) -> None:
    """Add ``/docs``, the files that it loads, and the page of each problem."""
    application.mount("/static/swagger-ui", StaticFiles(directory=_SWAGGER_UI))
    docs_page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="cxr-gate",
        swagger_js_url="/static/swagger-ui/swagger-ui-bundle.js",
        swagger_css_url="/static/swagger-ui/swagger-ui.css",
        swagger_favicon_url="/static/swagger-ui/favicon-32x32.png",
    )
    text = bytes(docs_page.body).decode()
    # The policy allows the one script within the page by its digest. Swagger UI sets styles, and has its icons as data URLs.
    scripts = " ".join(map(_digest, _SCRIPTS.findall(text)))
    docs_headers = _headers(
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'"
    )
    problem_headers = _headers(f"default-src 'none'; style-src {_digest(_STYLE)}")

    @application.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(text, headers=docs_headers)

    @application.get("/problems/{slug}", response_class=HTMLResponse, include_in_schema=False)
    async def problem(slug: str) -> HTMLResponse:
        """What a problem type means, and what to do."""
        if slug not in PROBLEMS:
            raise HttpError("not-found", "no such problem type")
        return HTMLResponse(_problem_page(slug), headers=problem_headers)


def _headers(policy: str) -> dict[str, str]:
    return {**HEADERS, "Content-Security-Policy": f"{policy}; {_NOWHERE_ELSE}"}


def _digest(content: str) -> str:
    """The name by which a policy allows a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _problem_page(slug: str) -> str:
    problem = PROBLEMS[slug]
    retry = (
        "This may pass: retry."
        if problem.retry
        else "This does not pass by itself: the same request gets the same answer."
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{html.escape(problem.title)}</title><style>{_STYLE}</style>"
        f"<h1>{problem.status} {html.escape(problem.title)}</h1><p>{html.escape(problem.meaning)}</p>"
        f"<p><b>What to do:</b> {html.escape(problem.remedy)}</p><p>{retry}</p></html>"
    )
