"""The FastAPI application: routes, and what they share."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app import __version__
from app.access import Callers, KeysFileError, Quota
from app.access.oidc import OidcError, Provider, parse_scopes
from app.decoding.decode_pool import DecodingUnavailable
from app.engine import Engine, NotReady, Overloaded, Version
from app.metrics import UNKNOWN_KIND, Metrics
from app.pipeline import LABELS, Screener
from app.quarantine import open_quarantine
from app.records import Repeats, Writer, open_record
from app.screening import QueryGuard, Reports, Screening
from app.settings import Settings, SettingsError
from app.tracing import Tracing
from app.versions import Catalogue, ChoiceFile, Versions, load

from .middleware.disconnect import CancelOnDisconnect
from .middleware.foreign import RefuseForeign
from .middleware.linger import Linger
from .middleware.observe import Observe
from .openapi import ACCESS_PROBLEMS, PROBLEM
from .problems import (
    PROBLEMS,
    RETRY_AFTER_SECONDS,
    SLUG_OF,
    HttpError,
    problem_response,
)
from .routes.decision_list import add_decided_route
from .routes.decode import DECODE, add_decode_route
from .routes.documentation import add_documentation
from .routes.explain import add_explain_route
from .routes.pages import serve_pages
from .routes.quarantine import add_quarantine_routes
from .routes.score import add_score_route
from .routes.stow import add_store_routes
from .routes.versions import add_version_routes
from .schemas import (
    Limits,
    ModelDescription,
    PublicFinding,
    PublicGate,
    Status,
)
from .security import KEY, Access
from .wire.query import KNOWN_QUERY

log = logging.getLogger("cxr_gate")

#: FastAPI's own would export paths, which hold UIDs, and the texts of errors, where a variable of the environment or somebody's
#: provider switches it on. Ours is in app.tracing.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def create_application(screeners: Sequence[Screener], settings: Settings, previous: Version | None = None) -> FastAPI:
    """Build the service around one screener a device, all of one bundle; the golden check runs when it starts.

    Parameters
    ----------
    screeners : sequence of Screener
        Of the version that is active at first.
    settings : Settings
    previous : Version or None
        What was active before it, on the same devices, to go back to.

    Raises
    ------
    BundleError
        (At start) the golden outputs were not reproduced.
    SettingsError
        The record cannot be opened, the folder where reports wait cannot be written to, that of the bundles is not there,
        the file of callers is none, or the quarantine or the identity provider cannot be as they are set.
    """
    quota = Quota(settings.quota_per_minute, settings.quota_burst) if settings.quota_per_minute else None
    provider = _provider(settings)
    access = Access(_callers(settings), quota, provider, metrics_open=settings.metrics_open)
    metrics = Metrics()
    if provider:
        metrics.oidc_keys_fetched.set_function(lambda: provider.fetched_at)
    tracing = Tracing.from_environment(os.environ, "cxr-gate")
    engine = Engine(Version(tuple(screeners)), settings, metrics)

    def describe(version: Version) -> None:
        metrics.describe(version.bundle, version.backends, settings.max_waiting)

    record = open_record(settings.record_url, settings.record_key_file)
    reports = Reports(settings, metrics, record.key.of_reports)
    writer = Writer(record, metrics, optional=settings.record_optional, days=settings.record_days)
    versions = Versions(
        engine,
        previous,
        Catalogue(settings),
        ChoiceFile(settings.versions_file),
        load=lambda folder: load(folder, settings),
        announce=describe,
        record=writer.note_version,
        metrics=metrics,
    )
    repeats = Repeats(record, optional=settings.record_optional)
    quarantine = open_quarantine(settings, record, writer, metrics)
    guard = QueryGuard.of(settings, metrics)
    screening = Screening(engine, guard, record.key, repeats, writer, quarantine, reports, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(writer.start)
        await run_in_threadpool(engine.start)
        reports.start()
        if provider:
            provider.fetch()
        if quarantine:
            quarantine.start()
        if previous:
            metrics.introduce(previous.bundle)
        describe(engine.active)
        log.info(
            "ready",
            extra={
                "model_version": engine.active.name,
                "signed": engine.active.bundle.signed_by is not None,
                "signed_by": engine.active.bundle.signed_by,
                "backends": [backend.description for backend in engine.active.backends],
            },
        )
        yield
        if provider:
            await provider.stop()
        await run_in_threadpool(engine.stop)
        await run_in_threadpool(reports.stop)
        if quarantine:
            await quarantine.stop()
        await run_in_threadpool(writer.stop)
        record.close()
        await run_in_threadpool(tracing.close)

    application = FastAPI(
        title="cxr-gate",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page takes its scripts from the internet, which a hospital's network may not reach
        redoc_url=None,
        redirect_slashes=False,  # Starlette's 307 would send films to whatever host the request names
        telemetry=NO_TELEMETRY,
        dependencies=[KNOWN_QUERY],
        description=f"{len(LABELS)} findings of a chest X-ray, behind a gate against tampered images. Not a medical device.",
    )
    application.state.access = access
    application.state.metrics = metrics  # for replicas of a cluster, which ask each other
    application.add_middleware(CancelOnDisconnect, paths={"/v1/score", "/v1/explain", DECODE})
    if not settings.has_callers:
        application.add_middleware(RefuseForeign, hosts=settings.allowed_hosts.lower().split())
    application.add_middleware(Observe, metrics=metrics, tracing=tracing)
    # The last one added is the outermost.
    application.add_middleware(Linger, max_bytes=max(settings.max_body_bytes, settings.max_store_bytes))
    _handle_errors(application, metrics, engine)

    add_score_route(application, access, screening, settings)
    add_explain_route(application, access, screening, settings)
    add_store_routes(application, access, screening, settings)
    add_decode_route(application, access, engine, settings)
    add_quarantine_routes(application, access, quarantine, engine)
    add_decided_route(application, access, record)

    @application.get("/v1/model", responses={400: {**PROBLEM, "description": "malformed request"}})
    async def model() -> ModelDescription:
        """The served model, its accuracy on held-out films, and the limits."""
        version = engine.active
        manifest, backends = version.manifest, version.backends
        return ModelDescription(
            model_version=version.name,
            signed_by=version.bundle.signed_by,
            shadow=shadow.version.name if (shadow := engine.shadow) else None,
            labels=list(LABELS),
            findings=[PublicFinding.of(finding) for finding in manifest.findings],
            gate=PublicGate.of(manifest.gate),
            measured=manifest.measured,
            backend=backends[0].name,
            device=",".join(str(backend.device) for backend in backends),
            limits=Limits(
                max_body_bytes=settings.max_body_bytes,
                max_pixels=settings.max_pixels,
                deadline_seconds=settings.deadline_seconds,
            ),
        )

    @application.get("/healthz")
    async def healthz() -> Status:
        """The process is alive."""
        return Status(status="alive")

    @application.get("/readyz", responses={503: {**PROBLEM, "description": "not ready"}})
    async def readyz() -> Status:
        """The bundle verified, and its golden outputs were reproduced on this device."""
        if not engine.ready:
            raise NotReady("the service is starting or stopping, or no device is in service")
        return Status(status="ready")

    @application.get("/metrics", response_class=Response, dependencies=[KEY], responses=ACCESS_PROBLEMS)
    async def prometheus(request: Request) -> Response:
        """Metrics for Prometheus. Operators only: they tell how near films came to being rejected."""
        access.require(request, "metrics", "operate")
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    add_version_routes(application, versions, access)
    add_documentation(application)
    serve_pages(application)
    return application


def _callers(settings: Settings) -> Callers | None:
    try:
        return Callers(Path(settings.keys_file)) if settings.keys_file else None
    except KeysFileError as error:
        raise SettingsError(f"CXR_KEYS_FILE: {error}") from error


def _provider(settings: Settings) -> Provider | None:
    if not settings.oidc_issuer:
        if settings.oidc_audience or settings.oidc_jwks_url or settings.oidc_scopes:
            raise SettingsError("CXR_OIDC_AUDIENCE, CXR_OIDC_JWKS_URL and CXR_OIDC_SCOPES need CXR_OIDC_ISSUER")
        return None
    try:
        scopes = parse_scopes(settings.oidc_scopes)
        return Provider(settings.oidc_issuer, settings.oidc_audience, settings.oidc_jwks_url, scopes)
    except OidcError as error:
        raise SettingsError(str(error)) from error


def _handle_errors(application: FastAPI, metrics: Metrics, engine: Engine) -> None:
    def count(request: Request, slug: str) -> None:
        # Unknown where the fault was found before the film's bytes were.
        kind = getattr(request.state, "source_kind", UNKNOWN_KIND)
        metrics.count_not_judged(slug, engine.active.name, kind)

    async def known(request: Request, error: Exception) -> Response:
        count(request, SLUG_OF[type(error)])
        retry = None
        if isinstance(error, Overloaded):
            retry = {"Retry-After": str(error.retry_after)}
        elif isinstance(error, DecodingUnavailable):  # most often the machine is busy, with films among other things
            retry = {"Retry-After": str(max(RETRY_AFTER_SECONDS, engine.retry_after))}
        return problem_response(request, SLUG_OF[type(error)], str(error), retry)

    async def of_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, HttpError)
        count(request, error.slug)
        return problem_response(request, error.slug, str(error), error.headers)

    async def of_starlette(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "malformed-request")
        return problem_response(request, slug, PROBLEMS[slug].meaning, error.headers)  # Allow, of a 405

    async def of_validation(request: Request, _: Exception) -> Response:
        # FastAPI's own answer is 422, which here means one thing only.
        return problem_response(request, "malformed-request", "a parameter of the request is not valid; see /docs")

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error, extra={"request_id": request.state.request_id})
        # Starlette answers this outside all middleware, so the header is not added there.
        named = {"X-Request-ID": request.state.request_id}
        return problem_response(request, "internal-error", PROBLEMS["internal-error"].meaning, named)

    for kind in SLUG_OF:
        application.add_exception_handler(kind, known)
    application.add_exception_handler(HttpError, of_request)
    application.add_exception_handler(HTTPException, of_starlette)
    application.add_exception_handler(RequestValidationError, of_validation)
    application.add_exception_handler(Exception, unexpected)
