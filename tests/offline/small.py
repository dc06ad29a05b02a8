"""A few films of noise, for tests that need files to read and no finding to find; a network that learned nothing."""

from pathlib import Path

import numpy as np
from PIL import Image

from app.pipeline import LABELS
from offline.data.films import Film, Split
from offline.run import Run
from tests.support.bundles import random_network


def random_run(folder: Path, seed: int, *, data: str = "films") -> Run:
    """A run like one of ``train``, of a random network; `data` stands for the films that it was trained on."""
    run = Run(folder)
    record = {"options": {}, "data": data, "initial_weights": "none", "history": []}
    run.save(random_network(seed).state_dict(), record)
    return run


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
