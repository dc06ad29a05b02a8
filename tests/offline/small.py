"""A few films of noise, for tests that need files to read and no finding to find; a network that learned nothing."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from app.pipeline import LABELS
from offline.data.films import Film, Split
from offline.training.train import RECORD, WEIGHTS
from tests.bundles import random_network


def random_run(folder: Path, seed: int, *, data: str = "films") -> Path:
    """A run like one of ``train``, of a random network; `data` stands for the films that it was trained on."""
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in random_network(seed).state_dict().items()}, folder / WEIGHTS)
    (folder / RECORD).write_text(json.dumps({"options": {}, "data": data, "initial_weights": "none", "history": []}))
    return folder


def noise_films(folder: Path, counts: dict[Split, int]) -> list[Film]:
    """Write and list grey 224 x 224 PNGs, one patient each, with random findings."""
    generator = np.random.default_rng(0)
    films = []
    for split, count in counts.items():
        for number in range(count):
            path = folder / f"{split}{number}.png"
            Image.fromarray(generator.integers(0, 256, (224, 224), dtype=np.uint8)).save(path)
            targets = tuple(int(value) for value in generator.integers(0, 2, len(LABELS)))
            findings = tuple(name for name, present in zip(LABELS, targets, strict=True) if present) or ("No Finding",)
            films.append(Film(path, path.stem, split, targets, findings, "PA", "F", 50))
    return films
