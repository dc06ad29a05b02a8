"""The state of the service: ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Security
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from app.engine import NotReady

from ..openapi import problems
from ..schemas import Status
from ..security import require
from ..services import Services

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def healthz() -> Status:
    """The process is alive."""
    return Status(status="alive")


@router.get("/readyz", responses=problems("not-ready"))
async def readyz(request: Request) -> Status:
    """The bundle verified, and its golden outputs were reproduced on this device."""
    if not Services.of(request).engine.ready:
        raise NotReady("the service is starting or stopping, or no device is in service")
    return Status(status="ready")


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    dependencies=[Security(require, scopes=["metrics", "operate"])],
)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus. Operators only: they tell how near films came to being rejected."""
    return Response(generate_latest(Services.of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
