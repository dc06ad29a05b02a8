"""``GET /v1/model``: the served model, and how good it is."""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.pipeline import LABELS

from ..schemas import Limits, ModelDescription, PublicFinding, PublicGate
from ..services import Services

router = APIRouter(tags=["service"])


@router.get("/v1/model")
async def model(request: Request) -> ModelDescription:
    """The served model, its accuracy on held-out films, and the limits."""
    services = Services.of(request)
    settings, shadow, version = services.settings, services.engine.shadow, services.engine.active
    manifest, backends = version.manifest, version.backends
    return ModelDescription(
        model_version=version.name,
        signed_by=version.bundle.signed_by,
        shadow=shadow.version.name if shadow else None,
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
