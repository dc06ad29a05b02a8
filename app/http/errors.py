"""Turns errors that are raised while a request is answered into problems."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.decoding.decode_pool import DecodingUnavailable
from app.engine import Engine, Overloaded
from app.metrics import UNKNOWN_KIND, Metrics
from app.quarantine import FilmUnreadable

from .problems import PROBLEMS, RETRY_AFTER_SECONDS, SLUG_OF, HttpError, problem_response
from .wire.query import refusal_of

log = logging.getLogger("cxr_gate")


def handle_errors(application: FastAPI, metrics: Metrics, engine: Engine) -> None:
    """Answer every error of a route with a problem, and count the sender's faults."""

    def count(request: Request, slug: str) -> None:
        # The kind is unknown if the fault was found before the film's bytes were read.
        kind = getattr(request.state, "source_kind", UNKNOWN_KIND)
        metrics.count_not_judged(slug, engine.active.name, kind)

    async def known(request: Request, error: Exception) -> Response:
        count(request, SLUG_OF[type(error)])
        retry = None
        if isinstance(error, Overloaded):
            retry = {"Retry-After": str(error.retry_after)}
        elif isinstance(error, DecodingUnavailable):  # most often because the machine is busy, partly with films
            retry = {"Retry-After": str(max(RETRY_AFTER_SECONDS, engine.retry_after))}
        elif isinstance(error, FilmUnreadable):
            log.error("a kept film is unreadable", extra={"request_id": request.state.request_id, "error": str(error)})
        return problem_response(request, SLUG_OF[type(error)], str(error), retry)

    async def of_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, HttpError)
        count(request, error.slug)
        return problem_response(request, error.slug, str(error), error.headers)

    async def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await of_request(request, refusal_of(request, error))

    async def of_starlette(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "malformed-request")
        return problem_response(request, slug, PROBLEMS[slug].meaning, error.headers)  # a 405 has Allow

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error, extra={"request_id": request.state.request_id})
        # Starlette answers this outside all middleware, so no middleware adds the headers.
        headers = request.state.answer_headers
        return problem_response(request, "internal-error", PROBLEMS["internal-error"].meaning, headers)

    for kind in SLUG_OF:
        application.add_exception_handler(kind, known)
    application.add_exception_handler(HttpError, of_request)
    application.add_exception_handler(HTTPException, of_starlette)
    application.add_exception_handler(RequestValidationError, of_validation)
    application.add_exception_handler(Exception, unexpected)
