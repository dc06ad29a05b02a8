"""Ray Serve: replicas that decode in threads and batch with ``serve.batch``."""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import ray
import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from torch import Tensor

from app.pipeline.errors import InputError
from benchmarks.peers.pipeline import MAX_BATCH, Model, read

REPLICAS = int(os.environ["BENCH_WORKERS"])


@serve.deployment(num_replicas=REPLICAS, max_ongoing_requests=64, ray_actor_options={"num_cpus": 2 / REPLICAS})
class RayFilms:
    """One replica."""

    def __init__(self) -> None:
        self.model = Model(threads=int(os.environ["BENCH_THREADS"]))

    async def __call__(self, request: Request) -> Response:
        """One film."""
        try:
            tensor = await asyncio.to_thread(read, await request.body())
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 400)
        return JSONResponse(await self.predict(tensor))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=float(os.environ["BENCH_WAIT_MS"]) / 1000)
    async def predict(self, tensors: list[Tensor]) -> list[dict[str, object]]:
        """One forward pass, out of the event loop, which else could not read the next films."""
        return await asyncio.to_thread(self.model.predict, torch.cat(tensors))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=256 * 1024 * 1024,
        log_to_driver=False,
        logging_level=30,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 60})
    serve.run(RayFilms.bind(), route_prefix="/score")
    while True:
        time.sleep(3600)
