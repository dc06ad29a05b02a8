"""Triton Inference Server through PyTriton: films as byte strings, Triton's own dynamic batcher."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from app.pipeline import LABELS
from benchmarks.peers.pipeline import MAX_BATCH, Model, read


def callable_of(model: Model) -> Callable[..., dict[str, Any]]:
    """What PyTriton calls with each batch; films are decoded two at once."""
    decoders = ThreadPoolExecutor(2)

    @batch
    def infer(film: np.ndarray) -> dict[str, Any]:
        """Shape (N, 1) of bytes -> probabilities, shape (N, L), and log densities, shape (N, 1)."""
        tensors = list(decoders.map(read, film[:, 0]))
        probabilities, densities = model.arrays(torch.cat(tensors))
        return {"probabilities": probabilities, "log_density": densities[:, None]}

    return infer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, http_thread_count=8
    )
    callables = [callable_of(Model(int(os.environ["BENCH_THREADS"]))) for _ in range(int(os.environ["BENCH_WORKERS"]))]
    with Triton(config=config) as triton:
        triton.bind(
            model_name="films",
            infer_func=callables if len(callables) > 1 else callables[0],
            inputs=[Tensor(name="film", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="probabilities", dtype=np.float64, shape=(len(LABELS),)),
                Tensor(name="log_density", dtype=np.float64, shape=(1,)),
            ],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=1000 * int(os.environ["BENCH_WAIT_MS"])),
            ),
        )
        triton.serve()
