"""Where films lie from the thresholds of both bundles: what lets the alerts tell an attack from a scanner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from app.pipeline import Screener, read_bundle, torch_backend
from app.pipeline.network import LogitsOnly
from offline.attacks import AttackOptions, as_posted, attack
from offline.data.films import read_films
from offline.data.loading import load_film
from tests.support.processes import ROOT

from .simulated import BACKEND, BUNDLE

pytestmark = pytest.mark.slow

FILMS = 24
EXTREME = -1000.0  # as in deploy/prometheus/recording.yml


@pytest.fixture(scope="module")
def screener() -> Screener:
    return Screener(BUNDLE, BACKEND)


@pytest.fixture(scope="module")
def films(shared_data) -> Tensor:
    """Clean films of patients that neither network nor gate has seen, as 8 bits of 224 x 224."""
    held_out = [film for film in read_films(shared_data / "chest_xrays", split_rule="column") if film.split == "test"]
    return as_posted(torch.stack([load_film(film.path) for film in held_out[:: len(held_out) // FILMS][:FILMS]]))


def extreme_share(screener: Screener, images: Tensor) -> float:
    margins = [
        screener.bundle.gate.log_density(screener.outputs(batch).gate_features) - screener.bundle.gate.threshold
        for batch in images.split(8)
    ]
    return float(np.mean(np.concatenate(margins) < EXTREME))


def noisy(films: Tensor, deviation: float) -> Tensor:
    grain = torch.randn(films.shape, generator=torch.Generator().manual_seed(0))
    return as_posted((films + deviation * grain).clamp(0, 1))


def attacked(screener: Screener, films: Tensor, epsilon: float, steps: int) -> Tensor:
    options = AttackOptions(epsilon=epsilon, step_size=epsilon / 4 if steps > 1 else epsilon, steps=steps)
    network = LogitsOnly(screener.bundle.network)
    return as_posted(torch.cat([attack(network, batch, options) for batch in films.split(8)]))


@pytest.fixture(scope="module")
def watching() -> Screener:
    """The bundle that is served by default, whose gate looks through a watch."""
    bundle = read_bundle(ROOT / "artifacts" / "default")
    return Screener(bundle, torch_backend(bundle.network, torch.device("cpu")))


def test_through_a_watch_attacks_are_extreme_and_so_is_noise(watching: Screener, films: Tensor) -> None:
    """What the runbook owns up to: noise on the pixels that the network sees looks like an attack."""
    assert extreme_share(watching, films) == 0
    assert (watching.bundle.golden.calibration_scores - watching.bundle.manifest.gate.threshold > EXTREME).all()
    assert extreme_share(watching, attacked(watching, films[:8], 0.02, 10)) > 0.9
    assert extreme_share(watching, attacked(watching, films, 0.02, 1)) > 0.9
    assert extreme_share(watching, attacked(watching, films, 0.005, 1)) == 0
    assert extreme_share(watching, noisy(films, 0.005)) < 0.2
    assert extreme_share(watching, noisy(films, 0.01)) > 0.9
    assert extreme_share(watching, torch.cat([torch.full((1, 1, 224, 224), grey) for grey in (0.0, 0.5, 1.0)])) == 1


def test_no_clean_film_is_extreme(screener: Screener, films: Tensor) -> None:
    assert extreme_share(screener, films) == 0
    scores = BUNDLE.golden.calibration_scores
    assert (scores - BUNDLE.manifest.gate.threshold > EXTREME).all()


def test_noise_and_a_quarter_turn_are_not_extreme(screener: Screener, films: Tensor) -> None:
    for changed in (noisy(films, 0.005), noisy(films, 0.01), noisy(films, 0.02), films.rot90(1, (2, 3))):
        assert extreme_share(screener, changed) < 0.05


def test_attacks_of_ten_steps_are(screener: Screener, films: Tensor) -> None:
    assert extreme_share(screener, attacked(screener, films[:8], 0.02, 10)) > 0.9


def test_attacks_of_one_step_mostly_are_not(screener: Screener, films: Tensor) -> None:
    """What the runbook owns up to: these look like a noisy scanner."""
    assert extreme_share(screener, attacked(screener, films, 0.02, 1)) < 0.5
    assert extreme_share(screener, attacked(screener, films, 0.005, 1)) == 0


def test_blank_frames_are(screener: Screener) -> None:
    """What the runbook owns up to: a detector that sends blank frames looks like an attack."""
    assert extreme_share(screener, torch.cat([torch.full((1, 1, 224, 224), grey) for grey in (0.0, 0.5, 1.0)])) == 1
