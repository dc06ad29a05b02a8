"""LitServe: batches in worker processes."""

# Annotations stay objects here: LitServe hands that of decode_request to FastAPI, which then gives the raw body.
import argparse
import os
from typing import Annotated

import litserve
import torch
from fastapi import Depends, HTTPException, Request
from torch import Tensor

from app.pipeline.errors import InputError
from benchmarks.peers.pipeline import MAX_BATCH, Model, read


async def body(request: Request) -> bytes:
    """The film as it was sent: a form would be parsed and pickled for the worker."""
    return await request.body()


class LitServeFilms(litserve.LitAPI):
    """decode_request -> batch -> predict -> unbatch."""

    def setup(self, device: str) -> None:
        """The model, once a worker."""
        self.model = Model(threads=int(os.environ["BENCH_THREADS"]))

    def decode_request(self, request: Annotated[bytes, Depends(body)]) -> Tensor:
        """Decode one film."""
        try:
            return read(request)
        except InputError as error:
            raise HTTPException(400, str(error)) from error

    def batch(self, inputs: list[Tensor]) -> Tensor:
        """Stack."""
        return torch.cat(inputs)

    def predict(self, x: Tensor) -> list[dict[str, object]]:
        """One forward pass."""
        return self.model.predict(x)

    def unbatch(self, output: list[dict[str, object]]) -> list[dict[str, object]]:
        """They are apart already."""
        return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    api = LitServeFilms(
        max_batch_size=MAX_BATCH, batch_timeout=float(os.environ["BENCH_WAIT_MS"]) / 1000, api_path="/score"
    )
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=int(os.environ["BENCH_WORKERS"]), timeout=60
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
