"""What every peer runs: the pipeline's own stages, so that nothing but the serving differs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from app.pipeline import decode, film_tensor, read_bundle
from app.pipeline.image import INPUT_SIDE

#: Set by the harness; the bundle that all systems serve.
BUNDLE = Path(os.environ.get("BENCH_BUNDLE", "artifacts/default"))
MAX_BATCH = 8


def read(film: bytes) -> Tensor:
    """Bytes of a film -> tensor, shape (1, 1, 224, 224), float32, in [0, 1].

    Raises
    ------
    InputError
        The bytes are no film.
    """
    return film_tensor(decode(film))


class Model:
    """The bundle's network and gate in float32, warmed up at every batch size.

    Parameters
    ----------
    threads : int
        Of torch, in this process.
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        bundle = read_bundle(BUNDLE)
        self._network = bundle.network
        self._gate = bundle.gate
        self._calls = bundle.calls
        for size in range(1, MAX_BATCH + 1):
            self.arrays(torch.zeros(size, 1, INPUT_SIDE, INPUT_SIDE))

    def arrays(self, images: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shape (N, 1, 224, 224) -> probabilities, shape (N, L), and log densities, shape (N,)."""
        with torch.inference_mode():
            outputs = self._network(images)
        return expit(self._calls.log_odds(outputs.logits)), self._gate.log_density(outputs.gate_features.numpy())

    def predict(self, images: Tensor) -> list[dict[str, object]]:
        """Shape (N, 1, 224, 224) -> one answer an image."""
        answers = zip(*self.arrays(images), strict=True)
        return [{"probabilities": row.tolist(), "log_density": float(density)} for row, density in answers]
