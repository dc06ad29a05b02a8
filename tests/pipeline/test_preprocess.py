"""The tensor is the film: untouched at 224, nearly the same from a film and its 2x2 mean, always in [0,1]."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.pipeline import decode, to_tensor


def test_224_passes_to_the_bit() -> None:
    pixels = np.random.default_rng(0).random((224, 224), dtype=np.float32)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 1, 224, 224)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor[0, 0].numpy(), pixels)


@pytest.mark.parametrize("shape", [(1024, 1024), (300, 500), (2500, 2048), (225, 224)], ids=str)
def test_range_and_shape(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)  # the harshest edges
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 1, 224, 224)
    assert float(tensor.min()) >= 0
    assert float(tensor.max()) <= 1


def test_a_flat_film_stays_flat() -> None:
    tensor = to_tensor(np.full((777, 555), 0.25, np.float32))
    np.testing.assert_allclose(tensor.numpy(), 0.25, atol=1e-6)


def test_the_input_is_not_changed() -> None:
    pixels = np.linspace(0, 1, 300 * 300, dtype=np.float32).reshape(300, 300)
    before = pixels.copy()
    to_tensor(pixels)
    np.testing.assert_array_equal(pixels, before)


def test_a_film_and_its_box_mean_give_nearly_the_same(shared_data: Path) -> None:
    film = decode((shared_data / "dicom/dx_chest_no_finding.dcm").read_bytes()).pixels
    assert film.shape == (1024, 1024)
    halved = film.reshape(512, 2, 512, 2).mean(axis=(1, 3))
    difference = (to_tensor(film) - to_tensor(halved)).abs()
    assert float(difference.mean()) < 0.5 / 255
    assert float(difference.max()) < 0.05
