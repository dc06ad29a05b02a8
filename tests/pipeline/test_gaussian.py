"""The log density is that of scipy's multivariate normal, and a malformed Gaussian is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from app.pipeline.gaussian import Array, Gaussian


def gaussian_of(d: int, seed: int = 0) -> tuple[Gaussian, Array]:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(d, d))
    covariance = root @ root.T + 0.1 * np.eye(d)
    return Gaussian(generator.normal(size=d), np.linalg.cholesky(covariance)), covariance


@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_log_density_is_scipys(d: int) -> None:
    gaussian, covariance = gaussian_of(d)
    features = np.random.default_rng(1).normal(scale=3, size=(17, d))
    oracle = multivariate_normal(gaussian.mean, covariance).logpdf(features)
    np.testing.assert_allclose(gaussian.log_density(features), oracle, rtol=1e-9)


def test_mahalanobis_squared_is_the_quadratic_form() -> None:
    gaussian, covariance = gaussian_of(6)
    features = np.random.default_rng(1).normal(size=(9, 6))
    centred = features - gaussian.mean
    naive = [row @ np.linalg.inv(covariance) @ row for row in centred]
    np.testing.assert_allclose(gaussian.mahalanobis_squared(features), naive, rtol=1e-9)


def test_float32_features_are_scored_in_float64() -> None:
    gaussian, _ = gaussian_of(5)
    features = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    assert gaussian.log_density(features).dtype == np.float64
    np.testing.assert_array_equal(gaussian.log_density(features), gaussian.log_density(features.astype(np.float64)))


def test_one_image_scores_as_in_a_batch() -> None:
    gaussian, _ = gaussian_of(30)
    features = np.random.default_rng(1).normal(size=(8, 30))
    alone = np.concatenate([gaussian.log_density(row[None]) for row in features])
    np.testing.assert_allclose(gaussian.log_density(features), alone, rtol=1e-12)


def test_a_feature_that_is_not_finite_spoils_only_its_own_score() -> None:
    gaussian, _ = gaussian_of(4)
    features = np.zeros((3, 4))
    features[1, 2] = np.nan
    assert np.isfinite(gaussian.log_density(features)).tolist() == [True, False, True]


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 8), seed=st.integers(0, 1000), shift=st.floats(-100, 100))
def test_shifting_features_and_mean_together_changes_nothing(d: int, seed: int, shift: float) -> None:
    gaussian, _ = gaussian_of(d, seed)
    features = np.random.default_rng(seed).normal(size=(4, d))
    shifted = Gaussian(gaussian.mean + shift, gaussian.cholesky_factor)
    np.testing.assert_allclose(shifted.log_density(features + shift), gaussian.log_density(features), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 8), seed=st.integers(0, 1000))
def test_nothing_is_more_typical_than_the_mean(d: int, seed: int) -> None:
    gaussian, _ = gaussian_of(d, seed)
    features = np.random.default_rng(seed + 1).normal(size=(4, d))
    assert (gaussian.log_density(features) <= gaussian.log_density(gaussian.mean[None])).all()


BAD = {
    "float32 mean": (np.zeros(2, np.float32), np.eye(2), "float64"),
    "float32 factor": (np.zeros(2), np.eye(2, dtype=np.float32), "float64"),
    "mean of two axes": (np.zeros((2, 1)), np.eye(2), "shape"),
    "another d": (np.zeros(2), np.eye(3), "shape"),
    "not square": (np.zeros(2), np.ones((2, 3)), "shape"),
    "NaN": (np.array([0, np.nan]), np.eye(2), "finite"),
    "infinite": (np.zeros(2), np.diag([1, np.inf]), "finite"),
    "upper triangular": (np.zeros(2), np.array([[1.0, 1.0], [0.0, 1.0]]), "lower triangular"),
    "zero on the diagonal": (np.zeros(2), np.diag([1.0, 0.0]), "positive diagonal"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    mean, factor, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        Gaussian(mean, factor)


def test_features_of_another_width_are_refused() -> None:
    gaussian, _ = gaussian_of(4)
    for width in (3, 5, 1024, 1028):
        with pytest.raises(ValueError, match="the Gaussian is of 4"):
            gaussian.log_density(np.zeros((2, width)))
