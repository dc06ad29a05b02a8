"""Streamed moments equal numpy's whatever the sharding, and the shrinkage is scikit-learn's."""

from functools import reduce

import numpy as np
import pytest
from sklearn.covariance import OAS, LedoitWolf

from offline.gate.moments import (
    Moments,
    ledoit_wolf_shrinkage,
    oas_shrinkage,
    shrink_by_lambda,
    shrink_towards_identity,
)


def features(n: int = 500, d: int = 30, offset: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + offset


def test_moments_are_numpys() -> None:
    values = features()
    moments = Moments.of(values)
    assert moments.n == 500
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(values, rowvar=False, bias=True), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shards", [2, 7, 500])
@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["centred", "far from zero"])
def test_shards_give_the_same(shards: int, offset: float) -> None:
    values = features(offset=offset)
    whole = Moments.of(values)
    merged = reduce(Moments.merge, (Moments.of(part) for part in np.array_split(values, shards)))
    assert merged.n == whole.n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-10, atol=1e-10)
    scale = np.abs(whole.scatter).max()
    np.testing.assert_allclose(merged.scatter / scale, whole.scatter / scale, atol=1e-10)


def test_float32_features_are_summed_in_float64() -> None:
    values = features().astype(np.float32)
    assert Moments.of(values).scatter.dtype == np.float64
    np.testing.assert_array_equal(Moments.of(values).scatter, Moments.of(values.astype(np.float64)).scatter)


def test_lambda_adds_to_the_diagonal() -> None:
    covariance = Moments.of(features()).covariance
    np.testing.assert_allclose(shrink_by_lambda(covariance, 0.3) - covariance, 0.3 * np.eye(30), atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(500, 30), (40, 30), (20, 60), (3, 5)])
def test_ledoit_wolf_is_scikit_learns(n: int, d: int) -> None:
    values = features(n, d)
    moments = Moments.of(values)
    fourth = float((((values - moments.mean) ** 2).sum(axis=1) ** 2).sum())
    weight = ledoit_wolf_shrinkage(moments, fourth)
    oracle = LedoitWolf().fit(values)
    assert weight == pytest.approx(oracle.shrinkage_, rel=1e-9)
    np.testing.assert_allclose(
        shrink_towards_identity(moments.covariance, weight), oracle.covariance_, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(("n", "d"), [(500, 30), (40, 30), (20, 60), (3, 5)])
def test_oas_is_scikit_learns(n: int, d: int) -> None:
    values = features(n, d)
    moments = Moments.of(values)
    weight = oas_shrinkage(moments)
    oracle = OAS().fit(values)
    assert weight == pytest.approx(oracle.shrinkage_, rel=1e-9)
    np.testing.assert_allclose(
        shrink_towards_identity(moments.covariance, weight), oracle.covariance_, rtol=1e-9, atol=1e-9
    )


def test_oas_of_identical_films_is_the_identity_alone() -> None:
    assert oas_shrinkage(Moments.of(np.ones((5, 3)))) == 1.0


def test_ledoit_wolf_weight_stays_in_the_unit_range() -> None:
    same = np.ones((5, 3))
    assert ledoit_wolf_shrinkage(Moments.of(same), 0.0) == 1.0
    assert 0 <= ledoit_wolf_shrinkage(Moments.of(features(2, 50)), 1e12) <= 1
