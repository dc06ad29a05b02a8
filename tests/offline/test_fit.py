"""The gate fitted in blocks is numpy's Gaussian, its threshold follows the rule, and a run remembers both."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import offline.gate.fit
from offline.data.films import FilmsError
from offline.gate.fit import (
    Covariance,
    FitOptions,
    fit_gate,
    fit_gaussian,
    load_gate,
    moments_of,
    save_gate,
)
from offline.run import Run


def features(n: int, seed: int = 0, d: int = 12) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(d, d))
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 3).astype(np.float32)


@pytest.mark.parametrize("block", [7, 100, 1024])
def test_gaussian_is_numpys_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline.gate.fit, "BLOCK", block)
    values = features(300)
    gaussian, shrinkage = fit_gaussian(values, FitOptions(ridge=0.05))
    covariance = np.cov(values.astype(np.float64), rowvar=False, bias=True) + 0.05 * np.eye(12)
    oracle = multivariate_normal(values.astype(np.float64).mean(axis=0), covariance).logpdf(values[:9])
    np.testing.assert_allclose(gaussian.log_density(values[:9]), oracle, rtol=1e-8)
    assert shrinkage == "lambda=0.05"


@pytest.mark.parametrize("covariance", ["lambda", "ledoit-wolf", "oas"])
def test_films_and_their_variants_are_fitted_as_one_set(covariance: Covariance) -> None:
    plain, first, second = (features(60, seed) for seed in (1, 2, 3))
    options = FitOptions(covariance=covariance)
    halves, _ = fit_gaussian(plain, FitOptions(covariance=covariance, variant_weight=0.5), changed=[first, first])
    whole, _ = fit_gaussian(plain, options, changed=[first])
    np.testing.assert_allclose(halves.mean, whole.mean, rtol=1e-9)
    np.testing.assert_allclose(halves.cholesky_factor, whole.cholesky_factor, rtol=1e-7, atol=1e-9)
    apart, word = fit_gaussian(plain, options, changed=[first, second])
    together, same = fit_gaussian(np.concatenate([plain, first, second]), options)
    np.testing.assert_allclose(apart.mean, together.mean, rtol=1e-9)
    np.testing.assert_allclose(apart.cholesky_factor, together.cholesky_factor, rtol=1e-7, atol=1e-9)
    assert word[:10] == same[:10]


def test_scaled_features_have_no_unit() -> None:
    """And one that never varies counts as one that varies little, not as impossible."""
    values = np.random.default_rng(0).normal(size=(700, 40)).astype(np.float32)
    values[:, 0] = 3.0
    options = FitOptions(ridge=0.1, scaled=True)
    gaussian, word = fit_gaussian(values, options)
    other, _ = fit_gaussian(values * np.float32(4), options)
    np.testing.assert_allclose(
        other.log_density(values[:9] * np.float32(4)) + 40 * np.log(4), gaussian.log_density(values[:9]), rtol=1e-6
    )
    assert word == "scaled lambda=0.1"
    deviations = values.std(0).astype(np.float64)
    units = np.sqrt(deviations**2 + 0.01 * (deviations**2).mean())
    covariance = np.cov(values.astype(np.float64), rowvar=False, bias=True) + 0.1 * np.diag(units**2)
    oracle = multivariate_normal(values.astype(np.float64).mean(axis=0), covariance).logpdf(values[:9])
    np.testing.assert_allclose(gaussian.log_density(values[:9]), oracle, rtol=1e-5)


def test_the_threshold_of_a_gate_with_variants_is_of_unchanged_films() -> None:
    gate = fit_gate(features(300), features(99, seed=1), FitOptions(), changed=[features(300, seed=2) * 2])
    assert (gate.calibration_scores < gate.threshold.value).sum() == 4
    assert gate.n == 300


@pytest.mark.parametrize("covariance", ["ledoit-wolf", "oas"])
def test_shrinkage_fits_fewer_films_than_features(covariance: Covariance) -> None:
    gaussian, shrinkage = fit_gaussian(features(8), FitOptions(covariance=covariance))
    assert np.isfinite(gaussian.log_density(features(3))).all()
    assert 0 < float(shrinkage.removeprefix(f"{covariance}=")) <= 1


def test_a_singular_covariance_is_an_error_with_its_remedy() -> None:
    values = features(50)
    values[:, 3] = 1
    with pytest.raises(FilmsError, match="larger --lambda"):
        fit_gaussian(values, FitOptions(ridge=0.0))


def test_no_features() -> None:
    with pytest.raises(FilmsError, match="no features"):
        moments_of(np.zeros((0, 4), np.float32))


def test_held_out_rule_rejects_less_than_asked_of_the_calibration_films() -> None:
    gate = fit_gate(features(300), features(99, seed=1), FitOptions(target=0.05))
    assert (np.diff(gate.calibration_scores) >= 0).all()
    assert (gate.calibration_scores < gate.threshold.value).sum() == 4
    assert gate.n == 300


def test_too_few_held_out_films() -> None:
    with pytest.raises(FilmsError, match="too few"):
        fit_gate(features(300), features(10, seed=1), FitOptions(target=0.05))


@pytest.mark.parametrize("rule", ["held-out", "training"])
def test_a_run_remembers_its_gate(tmp_path: Path, rule: offline.gate.fit.Rule) -> None:
    options = FitOptions(rule=rule, target=0.1)
    gate = fit_gate(features(300), features(99, seed=1), options)
    save_gate(Run(tmp_path), gate, options)
    loaded, loaded_options = load_gate(Run(tmp_path))
    np.testing.assert_array_equal(loaded.density.mean, gate.density.mean)
    np.testing.assert_array_equal(loaded.density.cholesky_factor, gate.density.cholesky_factor)
    np.testing.assert_array_equal(loaded.calibration_scores, gate.calibration_scores)
    assert (loaded.threshold, loaded.n, loaded.shrinkage) == (gate.threshold, gate.n, gate.shrinkage)
    assert (loaded_options.rule, loaded_options.target) == (rule, 0.1)


def test_a_run_without_its_parts(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match="cxr-offline train"):
        Run(tmp_path).network()
    with pytest.raises(FilmsError, match="cxr-offline fit"):
        load_gate(Run(tmp_path))
