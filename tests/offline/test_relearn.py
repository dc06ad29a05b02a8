"""A last layer learned anew: ridge regression as scikit-learn does it, on features that stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from app.pipeline.labels import LABELS
from offline.data.films import FilmsError
from offline.data.loading import load_film
from offline.run import Run
from offline.training.refit_head import refit_head, ridge_layer

from .small import noise_films, random_run


def test_ridge_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(3, 1, (40, 1024)) * rng.uniform(0.1, 2, 1024)).astype(np.float32)
    logits = rng.normal(-2, 1, (40, len(LABELS))).astype(np.float32)
    weight, bias = ridge_layer(features, logits, 0.1)
    variance = float(features.astype(np.float64).var(0).mean())
    expected = Ridge(alpha=0.1 * variance * len(features)).fit(features.astype(np.float64), logits)
    np.testing.assert_allclose(weight, expected.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(bias, expected.intercept_, rtol=1e-6)


def test_the_features_stay_and_the_last_layer_answers_as_the_teacher(tmp_path: Path) -> None:
    run, teacher = random_run(tmp_path / "run", 1), random_run(tmp_path / "teacher", 2)
    films = noise_films(tmp_path, {"train": 6, "val": 2})
    refit_head(run, [teacher], films, Run(tmp_path / "new"), 1e-6, torch.device("cpu"), 0)
    before, teaching, after = (folder.network() for folder in (run, teacher, Run(tmp_path / "new")))
    for name, value in before.features.state_dict().items():
        torch.testing.assert_close(after.features.state_dict()[name], value, rtol=0, atol=0)
    images = torch.stack([load_film(film.path) for film in films[:6]])
    with torch.inference_mode():
        torch.testing.assert_close(after(images).logits, teaching(images).logits, rtol=0, atol=0.02)
    record = Run(tmp_path / "new").training.read()
    assert "last layer learned from network" in record["initial_weights"]


def test_of_several_teachers_the_mean_answer_is_learned(tmp_path: Path) -> None:
    run, *teachers = (random_run(tmp_path / str(seed), seed) for seed in (1, 2, 3))
    films = noise_films(tmp_path, {"train": 6, "val": 2})
    refit_head(run, teachers, films, Run(tmp_path / "new"), 1e-6, torch.device("cpu"), 0)
    after, *teaching = (folder.network() for folder in (Run(tmp_path / "new"), *teachers))
    images = torch.stack([load_film(film.path) for film in films[:6]])
    with torch.inference_mode():
        first, second = (network(images).logits for network in teaching)
        assert (first - second).abs().max() > 0.1
        torch.testing.assert_close(after(images).logits, (first + second) / 2, rtol=0, atol=0.02)
    record = Run(tmp_path / "new").training.read()
    assert "last layer learned from networks " in record["initial_weights"]


def test_without_a_teacher_nothing_is_written(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", 1)
    with pytest.raises(FilmsError, match="--teacher"):
        refit_head(run, [], [], Run(tmp_path / "new"), 0.1, torch.device("cpu"), 0)
    assert not Run(tmp_path / "new").weights.exists()


def test_without_a_ridge_nothing_is_written(tmp_path: Path) -> None:
    run = random_run(tmp_path / "run", 1)
    with pytest.raises(FilmsError, match="--ridge 0 is not over 0"):
        refit_head(run, [run], [], Run(tmp_path / "new"), 0, torch.device("cpu"), 0)
    assert not Run(tmp_path / "new").weights.exists()
