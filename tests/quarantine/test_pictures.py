"""What a reviewer sees."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.pipeline import decode, film_tensor, read_bundle
from app.pipeline.network import LogitsOnly
from app.quarantine.pictures import RESIDUAL_RANGE, film_png, residual_png
from offline.attacks import AttackOptions, as_posted, attack

ROOT = Path(__file__).resolve().parents[2]


def grey(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.mode == "L"
    return np.asarray(image)


def test_a_film_is_shown_to_the_grey_level() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (300, 260)).astype(np.float32)
    assert (grey(film_png(levels / 255)) == levels).all()


def test_a_flat_film_has_no_residual_and_a_point_stands_out() -> None:
    film = np.full((224, 224), 0.5, np.float32)
    assert set(np.unique(grey(residual_png(torch.from_numpy(film)[None, None])))) <= {127, 128}
    film[100, 50] += RESIDUAL_RANGE / 2
    film[20, 30] -= 2 * RESIDUAL_RANGE
    shown = grey(residual_png(torch.from_numpy(film)[None, None]))
    assert shown[100, 50] == 191
    assert shown[20, 30] == 0
    others = np.delete(shown.ravel(), [100 * 224 + 50, 20 * 224 + 30])
    assert set(np.unique(others)) <= {127, 128}


@pytest.mark.slow
def test_a_strong_attack_shows_and_a_faint_one_hides_among_clean_films(shared_data: Path) -> None:
    """What docs/quarantine.md says of the residual."""
    network = LogitsOnly(read_bundle(ROOT / "artifacts" / "paper").network)
    paths = sorted((shared_data / "chest_xrays").rglob("*.png"))[:8]
    clean = [as_posted(film_tensor(decode(path.read_bytes()))) for path in paths]

    def attacked(film: Tensor, epsilon: float) -> Tensor:
        return as_posted(attack(network, film, AttackOptions(epsilon=epsilon, step_size=epsilon / 4, steps=10)))

    def amounts(films: list[Tensor]) -> np.ndarray:
        return np.array([np.abs(grey(residual_png(film)) - 127.5).mean() for film in films])

    own = amounts(clean)
    assert amounts([attacked(film, 0.02) for film in clean]).min() > 1.5 * own.max()
    assert np.median(amounts([attacked(film, 1 / 255) for film in clean])) < own.max()
