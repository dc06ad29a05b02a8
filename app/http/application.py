"""The FastAPI application: its routes, and the middleware around them."""

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
from .middleware.sharing import ShareWithOrigins
from .openapi import Documented
from .routes import decision_list, decode, explain, health, model, quarantine, results, score, stow, versions
from .routes.documentation import add_documentation
from .routes.pages import serve_pages
from .services import Services
from .wire.origins import Origins
from .wire.query import KNOWN_QUERY

#: FastAPI's own telemetry can be switched on by a variable of the environment or by a provider. It would export paths, which
#: hold UIDs, and the texts of errors. The service's own telemetry is in app.tracing.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
#: In the order of the document. The tag of a route says what the route is for.
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
    """Build the service around one screener for each device, all of one bundle. The golden check runs when it starts.

    Parameters
    ----------
    screeners : sequence of Screener
        The screeners of the version that is active at first.
    previous : Version or None
        The version that was active before, on the same devices, to go back to.

    Raises
    ------
    BundleError
        (At start) the golden outputs were not reproduced.
    SettingsError
        The record cannot be opened, the folder where reports wait cannot be written to, the folder of the bundles is absent,
        the file of callers is no such file, or the quarantine or the identity provider cannot be set up as configured.
    """
    services = Services(screeners, settings, previous)
    application = routed(lambda _: services.running())
    application.state.services = services
    application.state.access = services.access
    application.state.metrics = services.metrics  # for the replicas of a cluster, which read each other's metrics
    application.add_middleware(CancelOnDisconnect, paths={score.PATH, explain.PATH, decode.PATH})
    origins = Origins(settings.allowed_origins.split())
    application.state.origins = origins  # for the server, which answers malformed requests itself
    if not settings.has_callers:
        application.add_middleware(RefuseForeign, hosts=settings.allowed_hosts.lower().split(), origins=origins)
    application.add_middleware(ShareWithOrigins, origins=origins)
    application.add_middleware(Observe, metrics=services.metrics, tracing=services.tracing)
    # The middleware that is added last is the outermost.
    application.add_middleware(Linger, max_bytes=max(settings.max_body_bytes, settings.max_store_bytes))
    handle_errors(application, services.metrics, services.engine)
    return application


def routed(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The application with all routes and their document; the routes need services to answer."""
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
