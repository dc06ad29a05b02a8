"""``/v1/versions``: lists the bundles; operators put one in shadow, promote it or roll back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Request, Security
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.engine import Comparison
from app.versions import Asked, Versions

from ..openapi import problems
from ..schemas import EXAMPLE_VERSION
from ..security import require
from ..services import Services

router = APIRouter(tags=["versions"], dependencies=[Security(require, scopes=["operate"])])
VersionName = Annotated[str, Path(description="As GET /v1/versions lists it.", examples=[EXAMPLE_VERSION])]
_REFUSALS: Final = ("version-conflict", "version-refused", "record-unavailable")


class ListedVersion(BaseModel):
    """A bundle."""

    model_version: str | None = Field(description="null where the manifest cannot be read")
    folder: str | None = Field(description="name; null where it is loaded and its folder is gone")
    verified: bool
    signed_by: str | None = Field(
        description="identifier of the trusted key; null where no keys are set, or not verified"
    )
    reason: str | None = Field(description="why it does not verify")
    role: Literal["active", "shadow", "previous", "idle"]


class Compared(BaseModel):
    """Films by what the active version decided and what the shadow did."""

    active: Literal["accepted", "rejected"]
    shadow: Literal["accepted", "rejected", "not_judged"]
    films: int


class ShadowComparison(BaseModel):
    """What the shadow, or the last one that there was, said of the active version's films."""

    shadow: str
    active: str
    since: datetime
    ended: str | None = Field(description="why it is over; null while it goes on")
    films: list[Compared]
    largest_probability_difference: float = Field(description="absolute, over films that both accepted")
    dropped: int = Field(description="films that were not compared, because too many waited")
    errors: int = Field(description="films that the shadow failed on")

    @classmethod
    def of(cls, comparison: Comparison) -> ShadowComparison:
        """The comparison as it stands, in the form of answers."""
        films = [
            Compared(active=active, shadow=shadow, films=comparison.decisions[active, shadow])
            for active in ("accepted", "rejected")
            for shadow in ("accepted", "rejected", "not_judged")
        ]
        return cls(
            shadow=comparison.shadow,
            active=comparison.active,
            since=comparison.since,
            ended=comparison.ended,
            films=films,
            largest_probability_difference=comparison.largest_difference,
            dropped=comparison.dropped,
            errors=comparison.errors,
        )


class VersionsState(BaseModel):
    """All bundles that are there, and the last comparison."""

    versions: list[ListedVersion]
    comparison: ShadowComparison | None

    @classmethod
    def of(cls, versions: Versions) -> VersionsState:
        """The versions as they stand, in the form of answers."""
        listed = [
            ListedVersion(
                model_version=entry.model_version,
                folder=entry.folder,
                verified=entry.reason is None,
                signed_by=entry.signed_by,
                reason=entry.reason,
                role=entry.role,
            )
            for entry in versions.listed()
        ]
        comparison = versions.comparison
        return cls(versions=listed, comparison=ShadowComparison.of(comparison) if comparison else None)


@router.get("/v1/versions")
async def list_versions(request: Request) -> VersionsState:
    """Every bundle of the folder, whether it verifies, its role, and how the shadow compares."""
    return await _after(request)


@router.post("/v1/versions/{model_version}/shadow", responses=problems("not-found", *_REFUSALS))
async def shadow_version(request: Request, model_version: VersionName) -> VersionsState:
    """Load a version, prove it on every device, and let it judge in shadow. The answer comes when that is done."""
    return await _after(request, partial(Services.of(request).versions.shadow, model_version))


@router.post("/v1/versions/{model_version}/promote", responses=problems("not-found", *_REFUSALS))
async def promote_version(request: Request, model_version: VersionName) -> VersionsState:
    """Make the version in shadow, or the previous one, active at once."""
    return await _after(request, partial(Services.of(request).versions.promote, model_version))


@router.post("/v1/versions/rollback", responses=problems(*_REFUSALS))
async def roll_back_version(request: Request) -> VersionsState:
    """Make the previous version active again, at once."""
    return await _after(request, Services.of(request).versions.roll_back)


@router.delete("/v1/versions/shadow", responses=problems("record-unavailable"))
async def end_shadow(request: Request) -> VersionsState:
    """Take out the version in shadow."""
    return await _after(request, Services.of(request).versions.end_shadow)


async def _after(request: Request, action: Callable[[Asked], None] | None = None) -> VersionsState:
    """Take the step in a thread, since it reads files and loads networks while the event loop serves."""
    if action:
        asked = Asked(request.state.caller, request.state.request_id, request.scope["route"].path)
        await run_in_threadpool(action, asked)
    return await run_in_threadpool(VersionsState.of, Services.of(request).versions)
