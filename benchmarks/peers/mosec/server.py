"""mosec: processes that decode, then a process that runs batches; the HTTP surface is in Rust."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from mosec import Server, ValidationError, Worker
from torch import Tensor

from app.pipeline.errors import InputError
from benchmarks.peers.pipeline import MAX_BATCH, Model, read


class Decode(Worker):
    """Bytes -> tensor, pickled to the next stage."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def deserialize(self, data: bytes) -> bytes:
        """The body is the film."""
        return data

    def forward(self, data: bytes) -> Tensor:
        """One film."""
        try:
            return read(data)
        except InputError as error:
            raise ValidationError(str(error)) from error


class MosecNetwork(Worker):
    """One forward pass a batch."""

    def __init__(self) -> None:
        self.model = Model(threads=int(os.environ["BENCH_THREADS"]))

    def forward(self, data: list[Tensor]) -> list[dict[str, object]]:
        """A batch."""
        return self.model.predict(torch.cat(data))

    def serialize(self, data: Any) -> bytes:
        """JSON."""
        return json.dumps(data).encode()


if __name__ == "__main__":  # --port, --address, --timeout and --max-request-size are mosec's own
    server = Server()
    server.append_worker(Decode, num=2, route="/score", timeout=60)
    server.append_worker(
        MosecNetwork,
        num=int(os.environ["BENCH_WORKERS"]),
        max_batch_size=MAX_BATCH,
        max_wait_time=int(os.environ["BENCH_WAIT_MS"]),
        route="/score",
        timeout=60,
    )
    server.run()
