"""Features and logits of many films, streamed to disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from app.pipeline.labels import LABELS
from app.pipeline.network import FEATURE_COUNT, ChestNetwork

from .films import Film
from .loading import in_order

BATCH = 16


@dataclass(frozen=True)
class Outputs:
    """Memory-mapped, in the order of the films: features (N, 1024) and logits (N, 14), float32."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]


def extract(
    network: ChestNetwork, films: list[Film], folder: Path, name: str, device: torch.device, workers: int
) -> Outputs:
    """Run the network, in float32 as it serves, over films; resident memory does not grow with their number.

    Parameters
    ----------
    folder, name
        Arrays are written to ``folder/name-features.npy`` and ``folder/name-logits.npy``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = open_memmap(folder / f"{name}-features.npy", "w+", np.float32, (len(films), FEATURE_COUNT))
    logits = open_memmap(folder / f"{name}-logits.npy", "w+", np.float32, (len(films), len(LABELS)))
    network.eval().to(device)
    done = 0
    batches = in_order(films, batch_size=BATCH, workers=workers)
    with torch.inference_mode(), tqdm(total=len(films), desc=f"features of {name}", unit="film") as progress:
        for images, _ in batches:
            batch_features, batch_logits = network(images.to(device))
            features[done : done + len(images)] = batch_features.cpu().numpy()
            logits[done : done + len(images)] = batch_logits.cpu().numpy()
            done += len(images)
            progress.update(len(images))
    features.flush()
    logits.flush()
    return Outputs(features, logits)


def saved(folder: Path, name: str) -> Outputs:
    """Open what ``extract`` wrote."""
    return Outputs(
        np.load(folder / f"{name}-features.npy", mmap_mode="r"), np.load(folder / f"{name}-logits.npy", mmap_mode="r")
    )


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over names and values of a network's tensors: says which network features are of."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a small record, readable by people."""
    path.write_text(json.dumps(content, indent=2) + "\n")
