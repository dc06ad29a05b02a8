"""``/v1/versions``: which bundles there are, and for operators the way in: shadow, promote, roll back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Literal

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.engine import Comparison
from app.versions import Asked, Versions

from ..problems import MEDIA_TYPE
from ..schemas import ProblemBody
from ..security import KEY, Access


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
        """As it stands."""
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


_PROBLEM = {"content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}}}
_NAME = {"name": "model_version", "in": "path", "required": True, "schema": {"type": "string"}}


def _documented(*statuses: int, named: bool = False) -> dict[str, Any]:
    meanings = {
        400: "malformed request",
        401: "unauthenticated",
        403: "forbidden",
        429: "quota",
        404: "no such version",
        409: "not in a state for this",
        503: "the bundle does not verify or prove itself, or choice or record could not be written; no identity provider",
    }
    return {
        "responses": {
            status: {**_PROBLEM, "description": meanings[status]} for status in (400, 401, 403, 429, 503, *statuses)
        },
        "dependencies": [KEY],
        "openapi_extra": {"parameters": [_NAME]} if named else None,
    }


def add_version_routes(application: FastAPI, versions: Versions, access: Access) -> None:
    """Add the routes, each for callers with the scope operate."""

    def state() -> VersionsState:
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
        return VersionsState(versions=listed, comparison=ShadowComparison.of(comparison) if comparison else None)

    async def after(request: Request, action: Callable[[Asked], None] | None = None) -> VersionsState:
        """Files are read and networks loaded in a thread; the event loop goes on serving."""
        caller = access.require(request, "operate")
        if action:
            asked = Asked(caller, request.state.request_id, request.scope["route"].path)
            await run_in_threadpool(action, asked)
        return await run_in_threadpool(state)

    @application.get("/v1/versions", **_documented())
    async def list_versions(request: Request) -> VersionsState:
        """Every bundle of the folder, whether it verifies, its role, and how the shadow compares."""
        return await after(request)

    # FastAPI would document 422 for a parameter that it checks itself, and here that means one thing only.
    @application.post("/v1/versions/{model_version}/shadow", **_documented(404, 409, named=True))
    async def shadow(request: Request) -> VersionsState:
        """Load a version, prove it on every device, and let it judge in shadow. The answer comes when that is done."""
        return await after(request, partial(versions.shadow, request.path_params["model_version"]))

    @application.post("/v1/versions/{model_version}/promote", **_documented(404, 409, named=True))
    async def promote(request: Request) -> VersionsState:
        """Make the version in shadow, or the previous one, active at once."""
        return await after(request, partial(versions.promote, request.path_params["model_version"]))

    @application.post("/v1/versions/rollback", **_documented(409))
    async def roll_back(request: Request) -> VersionsState:
        """Make the previous version active again, at once."""
        return await after(request, versions.roll_back)

    @application.delete("/v1/versions/shadow", **_documented(503))
    async def end_shadow(request: Request) -> VersionsState:
        """Take out the version in shadow."""
        return await after(request, versions.end_shadow)
