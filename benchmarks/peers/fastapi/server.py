"""FastAPI and torch without a batcher: ``def`` runs in the thread pool, ``async def`` in the event loop.

uvicorn server:in_threads | server:in_loop --workers 2
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request

from app.pipeline.errors import InputError
from benchmarks.peers.pipeline import Model, read


@asynccontextmanager
async def load(application: FastAPI) -> AsyncIterator[None]:
    """The model, once a worker."""
    application.state.model = Model(threads=int(os.environ["BENCH_THREADS"]))
    yield


async def body(request: Request) -> bytes:
    """The film; a raw body is cheaper than a form."""
    return await request.body()


def answer(model: Model, film: bytes) -> dict[str, object]:
    """One film, one forward pass."""
    try:
        return model.predict(read(film))[0]
    except InputError as error:
        raise HTTPException(400, str(error)) from error


in_threads = FastAPI(lifespan=load)
in_loop = FastAPI(lifespan=load)


@in_threads.post("/score")
def score(request: Request, film: Annotated[bytes, Depends(body)]) -> dict[str, object]:
    """In a thread of the pool."""
    return answer(request.app.state.model, film)


@in_loop.post("/score")
async def score_in_loop(request: Request, film: Annotated[bytes, Depends(body)]) -> dict[str, object]:
    """In the event loop, which stands still meanwhile."""
    return answer(request.app.state.model, film)
