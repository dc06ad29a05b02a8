"""The service as a Ray Serve deployment: each replica is the whole application, on a device of its own.

``deploy/ray/serve.yaml`` names ``build``. Settings are the ``CXR_`` variables of its ``runtime_env``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import httpx
import ray
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from ray import serve
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.commands import make_application
from app.logs import configure_logging
from app.settings import Settings, SettingsError

from .metrics import merge_metrics
from .ray_proxy import CALLBACK, CALLBACK_VARIABLE, RETRY_AFTER_SECONDS

_METRICS_SECONDS = 5.0


class Replica:
    """The application of one replica; its ``/metrics`` shows all replicas."""

    def __init__(self, own: FastAPI) -> None:
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await (await self._metrics(Headers(scope=scope)))(scope, receive, send)
        else:
            await self._own(scope, receive, send)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """This replica's own answer to a GET, without a socket."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._own), base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    async def _metrics(self, headers: Headers) -> Response:
        """The metrics of all replicas, if the caller may see those of this one."""
        own = await self.get("/metrics", {name: value for name, value in headers.items() if name == "authorization"})
        if own.status_code != 200:
            return Response(own.content, own.status_code, own.headers)
        return Response(await _all_metrics(), media_type=CONTENT_TYPE_LATEST)

    def own_metrics(self) -> str:
        """The page of this replica alone; the replica that got the request has checked the caller's right."""
        return generate_latest(self._own.state.metrics.registry).decode()


class RayDeployment:
    """The methods that Ray calls in a replica, beside its application. Ray runs the application's lifespan."""

    app: Replica

    async def check_health(self) -> None:
        """Ray calls this now and then, and replaces a replica that raises.

        Raises
        ------
        RuntimeError
            The service is not ready.
        """
        if (status := (await self.app.get("/readyz")).status_code) != 200:
            raise RuntimeError(f"/readyz answered {status}")

    async def own_metrics(self) -> tuple[str, str]:
        """The name and the metrics of this replica."""
        return serve.get_replica_context().replica_tag, self.app.own_metrics()


def build(arguments: dict[str, str]) -> serve.Application:
    """The application to deploy, as the settings say; `arguments`, from the configuration, must be empty.

    A replica takes a whole GPU, unless CXR_DEVICE is cpu, or auto in a cluster without GPUs. The configuration holds the
    numbers that an operator tunes (replicas, CPUs of each).

    Raises
    ------
    SettingsError
    """
    if arguments:
        raise SettingsError(f"args {', '.join(arguments)}: settings are CXR_ variables of runtime_env")
    settings = Settings.from_environment()
    if settings.bundles:
        raise SettingsError(
            "CXR_BUNDLES: /v1/versions would change one replica of many; change CXR_BUNDLE and deploy again (docs/versions.md)"
        )
    if settings.quarantine_folder:
        raise SettingsError(
            "CXR_QUARANTINE_FOLDER is not for Ray: each replica would keep films of its own, and a reviewer reach any of them. "
            "Run cxr-gate serve (docs/quarantine.md)"
        )
    deployment = serve.deployment(
        serve.ingress(_application)(RayDeployment),
        name="gate",
        ray_actor_options={"num_cpus": 1, "num_gpus": 1 if _on_gpu(settings.device) else 0},
        # Ray sends a replica no more than it admits; as many again may wait in each proxy, and further ones get 503.
        max_ongoing_requests=settings.max_waiting,
        max_queued_requests=settings.max_waiting,
        backpressure_config={"retry_after_s": RETRY_AFTER_SECONDS},
        health_check_period_s=5,
        health_check_timeout_s=30,
        # Ray sends nothing new to a replica that has to end. The replica ends once it has answered.
        graceful_shutdown_timeout_s=settings.deadline_seconds + settings.drain_seconds,
    )
    return deployment.bind()


def _on_gpu(device: str) -> bool:
    return device != "cpu" and (device != "auto" or ray.cluster_resources().get("GPU", 0) > 0)


def _application() -> Replica:
    """The service of one replica, in its own process."""
    if os.environ.get(CALLBACK_VARIABLE) != CALLBACK:
        raise SettingsError(
            f"run 'ray start' on every node with {CALLBACK_VARIABLE}={CALLBACK} in its environment; without it a replica "
            "that dies takes its requests with it"
        )
    configure_logging()
    settings = Settings.from_environment()
    # Replicas of one node must not share an outbox. The successor of a dead replica takes over the reports in its outbox.
    own = settings.results_folder / f"replica-{serve.get_replica_context().rank.local_rank}"
    return Replica(make_application(replace(settings, results_folder=own)))


async def _all_metrics() -> bytes:
    context = serve.get_replica_context()
    pages = await (
        serve.get_deployment_handle(context.deployment, context.app_name)
        .broadcast("own_metrics")
        .results_async(timeout_s=_METRICS_SECONDS, return_exceptions=True)
    )
    return merge_metrics(page for page in pages if not isinstance(page, Exception))  # a replica may have died just now
