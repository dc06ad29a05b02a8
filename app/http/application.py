"""The FastAPI application: its routes, and what stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import Lifespan

from app import __version__
from app.engine import Version
from app.pipeline import LABELS, Screener
from app.settings import Settings

from .errors import handle_errors
from .middleware.disconnect import CancelOnDisconnect
from .middleware.foreign import RefuseForeign
from .middleware.linger import Linger
from .middleware.observe import Observe
from .openapi import Documented
from .routes import decision_list, decode, explain, health, model, quarantine, results, score, stow, versions
from .routes.documentation import add_documentation
from .routes.pages import serve_pages
from .services import Services
from .wire.query import KNOWN_QUERY

#: FastAPI's own would export paths, which hold UIDs, and the texts of errors, where a variable of the environment or somebody's
#: provider switches it on. Ours is in app.tracing.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
#: As the document lists them. The tag of a route says what it is for.
TAGS: Final = {
    "films": "Post a film: score it, see where the evidence for a finding lies, or see it as it is decoded.",
    "dicomweb": "STOW-RS: store many instances in one request.",
    "quarantine": "Rejected films: reviewers look at them and decide, and senders fetch released results.",
    "decisions": "Past decisions, for operators.",
    "versions": "Which bundles there are, and how one becomes active, for operators.",
    "service": "The served model, and the state of the service.",
}
_ROUTERS: Final = (score, explain, decode, stow, quarantine, results, decision_list, versions, model, health)


def create_application(screeners: Sequence[Screener], settings: Settings, previous: Version | None = None) -> FastAPI:
    """Build the service around one screener a device, all of one bundle; the golden check runs when it starts.

    Parameters
    ----------
    screeners : sequence of Screener
        Of the version that is active at first.
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
    services = Services(screeners, settings, previous)
    application = routed(lambda _: services.running())
    application.state.services = services
    application.state.access = services.access
    application.state.metrics = services.metrics  # for replicas of a cluster, which ask each other
    application.add_middleware(CancelOnDisconnect, paths={score.PATH, explain.PATH, decode.PATH})
    if not settings.has_callers:
        application.add_middleware(RefuseForeign, hosts=settings.allowed_hosts.lower().split())
    application.add_middleware(Observe, metrics=services.metrics, tracing=services.tracing)
    # The last one added is the outermost.
    application.add_middleware(Linger, max_bytes=max(settings.max_body_bytes, settings.max_store_bytes))
    handle_errors(application, services.metrics, services.engine)
    return application


def routed(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """All routes and their document; to answer, they need services."""
    application = Documented(
        title="cxr-gate",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page takes its scripts from the internet, which a hospital's network may not reach
        redoc_url=None,
        redirect_slashes=False,  # Starlette's 307 would send films to whatever host the request names
        telemetry=NO_TELEMETRY,
        dependencies=[KNOWN_QUERY],
        description=f"{len(LABELS)} findings of a chest X-ray, behind a gate against tampered images. Not a medical device.",
        generate_unique_id_function=lambda route: route.name,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    for room in _ROUTERS:
        application.include_router(room.router)
    add_documentation(application)
    serve_pages(application)
    return application
