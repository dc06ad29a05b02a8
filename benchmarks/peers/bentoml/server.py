"""BentoML: a service that reads and decodes, and one whose batches are adaptive.

bentoml serve server:BentoFilms
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import bentoml
import numpy as np
import torch
from fastapi import Depends, FastAPI, HTTPException, Request

from app.pipeline.errors import InputError
from benchmarks.peers.pipeline import MAX_BATCH, Model, read

application = FastAPI()


async def body(request: Request) -> bytes:
    """The film as it was sent: BentoML's own file inputs go through a temporary file."""
    return await request.body()


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), traffic={"timeout": 60})
class BentoNetwork:
    """Forward passes, in batches that BentoML forms."""

    def __init__(self) -> None:
        self.model = Model(threads=int(os.environ["BENCH_THREADS"]))

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Shape (N, 1, 224, 224) -> probabilities and log density, shape (N, L + 1)."""
        probabilities, densities = self.model.arrays(torch.from_numpy(images.copy()))
        return np.concatenate([probabilities, densities[:, None]], axis=1)


@bentoml.service(traffic={"timeout": 60})
@bentoml.asgi_app(application)
class BentoFilms:
    """The surface; films are decoded in threads."""

    network = bentoml.depends(BentoNetwork)

    @application.post("/score")
    async def score(self, film: Annotated[bytes, Depends(body)]) -> dict[str, object]:
        """One film."""
        try:
            tensor = await asyncio.to_thread(read, film)
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        row = (await self.network.to_async.predict(tensor.numpy()))[0]
        return {"probabilities": row[:-1].tolist(), "log_density": float(row[-1])}
