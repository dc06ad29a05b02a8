"""The same film, the same answer: on every backend, whatever its neighbours, and however small its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from app.pipeline import Backend, Bundle, Screener, Verdict, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.pipeline.errors import UnsuitableImage
from app.pipeline.screener import LOG_DENSITY_ATOL, LOG_DENSITY_RTOL, SIGMOID_ATOL

from .test_backends import DEFAULT_BUNDLE, NEIGHBOUR_NATS, NEIGHBOUR_PROBABILITY, backend, bundle

__all__ = ["backend", "bundle"]  # fixtures

DENORMAL = 1e-40  # below the least normal float32, 1.2e-38


@pytest.fixture(scope="module")
def films(bundle: Bundle) -> Tensor:
    """The golden ones, faint and coarse ones, and noise, whose features lie far out."""
    golden = torch.from_numpy(bundle.golden.images).float() / 255
    noise = torch.rand((1, *golden.shape[1:]), generator=torch.Generator().manual_seed(3))
    return torch.cat([golden, golden[:2] * 1e-3, (golden[:2] > 0.5).float(), noise])


def test_every_backend_gives_torchs_answer(backend: Backend, bundle: Bundle, films: Tensor) -> None:
    """Within a tenth of the golden check's tolerance, so that no backend passes it by luck."""
    (densities, probabilities), (expected, wanted) = (
        scores(each, bundle, films) for each in (backend, TorchCpu(bundle.network))
    )
    assert (np.abs(densities - expected) <= (LOG_DENSITY_ATOL + LOG_DENSITY_RTOL * np.abs(expected)) / 10).all()
    assert np.abs(probabilities - wanted).max() <= SIGMOID_ATOL / 10


def test_denormal_numbers_are_as_nothing(backend: Backend, bundle: Bundle, films: Tensor) -> None:
    """Some processors and settings take them for zero, and others compute with them, slowly: the answers are the same."""
    black = torch.zeros_like(films[:1])
    speckled = films[:1] + torch.where(films[:1] > 0, 0.0, DENORMAL)
    densities, probabilities = scores(backend, bundle, torch.cat([black, black + DENORMAL, films[:1], speckled]))
    assert np.isfinite(densities).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    for without, with_them in ((0, 1), (2, 3)):
        assert abs(densities[without] - densities[with_them]) < NEIGHBOUR_NATS
        assert np.abs(probabilities[without] - probabilities[with_them]).max() < NEIGHBOUR_PROBABILITY


def test_a_batch_decides_as_each_film_alone(backend: Backend, bundle: Bundle, films: Tensor) -> None:
    screener = Screener(bundle, backend)
    alone = [decision(screener.screen(film[None])[0]) for film in films]
    order = torch.randperm(len(films), generator=torch.Generator().manual_seed(1))
    assert [decision(each) for each in screener.screen(films[order])] == [alone[index] for index in order]


def test_no_clean_film_lies_so_near_to_the_threshold_that_a_batch_could_decide() -> None:
    """Of the bundle's calibration films none but the one that is the threshold; and the record holds each film's score."""
    bundle = read_bundle(DEFAULT_BUNDLE)
    distances = np.abs(bundle.golden.calibration_scores - bundle.gate.threshold)
    assert (distances < NEIGHBOUR_NATS).sum() <= 1


def scores(backend: Backend, bundle: Bundle, films: Tensor) -> tuple[np.ndarray, np.ndarray]:
    _, gate_features, logits = backend.outputs(films)
    return bundle.gate.log_density(gate_features), 1 / (1 + np.exp(-logits.astype(np.float64)))


def decision(result: object) -> object:
    """What a caller sees, but for the digits."""
    if isinstance(result, Verdict):
        return result.accepted
    assert isinstance(result, UnsuitableImage)
    return str(result)
