"""What a reviewer sees."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from app.quarantine.pictures import RESIDUAL_RANGE, film_png, residual_png


def grey(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.mode == "L"
    return np.asarray(image)


def test_a_film_is_shown_to_the_grey_level() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (300, 260)).astype(np.float32)
    assert (grey(film_png(levels / 255)) == levels).all()


def test_a_flat_film_has_no_residual_and_a_point_stands_out() -> None:
    film = np.full((224, 224), 0.5, np.float32)
    assert set(np.unique(grey(residual_png(film)))) <= {127, 128}
    film[100, 50] += RESIDUAL_RANGE / 2
    film[20, 30] -= 2 * RESIDUAL_RANGE
    shown = grey(residual_png(film))
    assert shown[100, 50] == 191
    assert shown[20, 30] == 0
    others = np.delete(shown.ravel(), [100 * 224 + 50, 20 * 224 + 30])
    assert set(np.unique(others)) <= {127, 128}
