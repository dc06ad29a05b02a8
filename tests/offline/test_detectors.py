"""Every detector through one table of tests, and each against an oracle."""

import warnings
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import OAS, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from offline.data.films import FilmsError
from offline.detectors import (
    DETECTORS,
    ConditionalMixtures,
    Detector,
    Forest,
    KernelDensity,
    LocalIntrinsicDimensionality,
    MultivariateGaussian,
    Observed,
    OneClassMachine,
    PrincipalGaussian,
    RelativeMahalanobis,
    SeveralModes,
    SupervisedRegression,
    protocol,
)
from offline.detectors.gaussian import principal_axes
from offline.detectors.neighbours import lid
from offline.metrics import auroc

D, L = 16, 14
MIXING = np.random.default_rng(99).normal(size=(D, D)) / 2
CENTRES = np.random.default_rng(98).normal(size=(L, D)) * 2
FREQUENCY = np.array([8, 6, 5, 4, 3, 2, 1, 1, 1, 1, 0, 0, 0, 0]) / 32  # as uneven as findings are; four never on top


def observed(features: np.ndarray, logits: np.ndarray) -> Observed:
    """Of a network without one for its gate."""
    return Observed(features, features, logits)


def films(n: int, seed: int = 0, shift: float = 0.0) -> Observed:
    """Films whose features depend on their top finding; `shift` moves every feature."""
    generator = np.random.default_rng(seed)
    finding = generator.choice(L, size=n, p=FREQUENCY)
    features = CENTRES[finding] + generator.normal(size=(n, D)) @ MIXING + shift
    logits = generator.normal(size=(n, L)) + 20 * np.eye(L)[finding]
    return observed(features.astype(np.float32), logits.astype(np.float32))


TRAIN, CLEAN, SHIFTED = films(400), films(60, seed=1), films(60, seed=1, shift=12.0)
ATTACKED_TRAIN = films(100, seed=2, shift=12.0)


def fit(detector: Detector, train: Observed = TRAIN) -> protocol.Fitted:
    return detector.fit(train, ATTACKED_TRAIN if detector.supervised else None)


each_detector = pytest.mark.parametrize("name", DETECTORS)


@each_detector
def test_an_obvious_shift_is_less_typical(name: str) -> None:
    scorer = fit(DETECTORS[name](0))
    clean, shifted = scorer.score(CLEAN), scorer.score(SHIFTED)
    assert clean.shape == shifted.shape == (60,)
    assert clean.dtype == np.float64
    assert auroc(np.repeat([1, 0], 60), np.concatenate([clean, shifted])) > 0.95
    assert np.median(clean) > np.median(shifted)


@each_detector
def test_a_seed_gives_the_same_scores(name: str) -> None:
    first, second = (fit(DETECTORS[name](5)).score(CLEAN) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@each_detector
def test_scores_do_not_depend_on_the_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = fit(DETECTORS[name](0))
    whole = scorer.score(CLEAN)
    monkeypatch.setattr(protocol, "BLOCK", 7)
    np.testing.assert_allclose(scorer.score(CLEAN), whole, rtol=1e-9, atol=1e-9)


@each_detector
def test_one_film_is_too_few(name: str) -> None:
    with pytest.raises(FilmsError, match=r"at least \d+ films to fit on; there are 1"):
        fit(DETECTORS[name](0), films(1))


@each_detector
def test_other_shapes_than_fitted_are_refused(name: str) -> None:
    scorer = fit(DETECTORS[name](0))
    with pytest.raises(ValueError, match="films of 15 features and 14 findings; the detector was fitted on 16 and 14"):
        scorer.score(observed(CLEAN.features[:, :15], CLEAN.logits))
    with pytest.raises(ValueError, match="16 features and 13 findings"):
        scorer.score(observed(CLEAN.features, CLEAN.logits[:, :13]))


@each_detector
def test_no_films_have_no_scores(name: str) -> None:
    assert fit(DETECTORS[name](0)).score(CLEAN.take(slice(0))).shape == (0,)


@each_detector
def test_attacked_films_are_looked_at_by_supervised_detectors_only(name: str) -> None:
    detector = DETECTORS[name](0)
    if detector.supervised:
        assert name == "logistic-regression"
        with pytest.raises(ValueError, match="needs attacked films"):
            detector.fit(TRAIN)
    else:
        np.testing.assert_array_equal(
            detector.fit(TRAIN, ATTACKED_TRAIN).score(CLEAN), detector.fit(TRAIN).score(CLEAN)
        )


@each_detector
def test_options_are_frozen(name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        DETECTORS[name](0).seed = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: replace(o, features=o.features.astype(np.float64)), "float32 of two dimensions, not float64"),
        (lambda o: replace(o, features=o.features[0]), "two dimensions"),
        (lambda o: replace(o, logits=o.logits[:5]), "60 films and logits of 5"),
        (lambda o: replace(o, logits=o.logits * np.float32("nan")), "logits must be finite"),
        (lambda o: replace(o, features=o.features * np.float32("inf")), "features must be finite"),
    ],
    ids=["float64", "one dimension", "other films", "NaN", "both infinities"],
)
def test_what_is_observed_is_checked(change: Callable[[Observed], Observed], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change(CLEAN)


def test_the_largest_finite_features_are_finite() -> None:
    observed(np.full((3, D), np.finfo(np.float32).max), np.zeros((3, L), np.float32))


def as64(observed: Observed) -> np.ndarray:
    return observed.features.astype(np.float64)


@pytest.mark.parametrize(("covariance", "oracle"), [("oas", OAS()), ("ledoit-wolf", LedoitWolf())])
def test_shrunk_mgm_is_scikit_learns(covariance: str, oracle: OAS) -> None:
    oracle.fit(as64(TRAIN))
    expected = multivariate_normal(oracle.location_, oracle.covariance_).logpdf(as64(CLEAN))
    scores = MultivariateGaussian(covariance).fit(TRAIN).score(CLEAN)  # type: ignore[arg-type]
    np.testing.assert_allclose(scores, expected, rtol=1e-8)


def test_pca_before_mgm_is_a_gaussian_on_scikit_learns_components() -> None:
    oracle = PCA(0.9, svd_solver="full").fit(as64(TRAIN))
    projected = oracle.transform(as64(TRAIN))
    covariance = np.cov(projected, rowvar=False, bias=True) + 0.05 * np.eye(oracle.n_components_)
    expected = multivariate_normal(np.zeros(oracle.n_components_), covariance).logpdf(oracle.transform(as64(CLEAN)))
    assert principal_axes(TRAIN.features, 0.9).axes.shape == (D, oracle.n_components_)
    np.testing.assert_allclose(PrincipalGaussian(0.9, 0.05).fit(TRAIN).score(CLEAN), expected, rtol=1e-8)


def test_all_axes_give_mgm_itself() -> None:
    np.testing.assert_allclose(
        PrincipalGaussian(1.0, 0.05).fit(TRAIN).score(CLEAN),
        MultivariateGaussian(ridge=0.05).fit(TRAIN).score(CLEAN),
        rtol=1e-8,
    )


def test_films_span_one_axis_fewer_than_there_are() -> None:
    assert principal_axes(films(6).features, 1.0).axes.shape == (D, 5)


def test_copies_of_one_film_have_no_axes_and_no_bandwidth() -> None:
    copies = films(1).take(np.zeros(30, np.intp))
    with pytest.raises(FilmsError, match="same features"):
        PrincipalGaussian().fit(copies)
    with pytest.raises(FilmsError, match="twin"):
        KernelDensity().fit(copies)


@pytest.mark.parametrize("explained", [0.0, 1.1, float("nan")])
def test_a_share_of_variance_is_a_share(explained: float) -> None:
    with pytest.raises(ValueError, match="explained"):
        PrincipalGaussian(explained).fit(TRAIN)


def test_relative_mahalanobis_is_the_naive_one() -> None:
    least, ridge = 20, 0.1
    features, top = as64(TRAIN), TRAIN.logits.argmax(1)
    overall = features.mean(0)
    counts = np.bincount(top, minlength=L)
    assert (counts[counts > 0] < least).any()  # some findings are rare, and some never predicted
    assert (counts == 0).any()
    means = [features[top == k].mean(0) if counts[k] >= least else overall for k in range(L)]
    within = sum(np.outer(y - means[k], y - means[k]) for y, k in zip(features, top, strict=True)) / len(features)
    to_class = np.linalg.inv(within + ridge * np.eye(D))
    to_all = np.linalg.inv(np.cov(features, rowvar=False, bias=True) + ridge * np.eye(D))
    # The last films are predicted to have findings that were never on top when fitting.
    unseen = observed(
        CLEAN.features, np.where(np.arange(60)[:, None] < 50, CLEAN.logits, 50 * np.eye(L)[13]).astype("f4")
    )
    expected = []
    for y, k in zip(as64(unseen), unseen.logits.argmax(1), strict=True):
        expected.append((y - overall) @ to_all @ (y - overall) - (y - means[k]) @ to_class @ (y - means[k]))
    np.testing.assert_allclose(
        RelativeMahalanobis(ridge, least).fit(TRAIN).score(unseen), expected, rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("detector", [RelativeMahalanobis(), ConditionalMixtures()], ids=["relative", "mixtures"])
def test_features_of_another_finding_than_predicted_are_less_typical(detector: Detector) -> None:
    """What conditioning is for: the features are those of clean films, but the answer belongs to other ones."""
    swapped = observed(CLEAN.features, np.roll(CLEAN.logits[:, :5], 1, axis=1))
    swapped = observed(CLEAN.features, np.concatenate([swapped.logits, CLEAN.logits[:, 5:]], axis=1))
    common = CLEAN.top_finding < 5
    scorer = detector.fit(TRAIN)
    assert np.median((scorer.score(CLEAN) - scorer.score(swapped))[common]) > 5


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_one_mixture_is_scikit_learns(covariance: str) -> None:
    oracle = GaussianMixture(3, covariance_type=covariance, reg_covar=0.02, random_state=4, max_iter=500)
    expected = oracle.fit(as64(TRAIN)).score_samples(as64(CLEAN))
    scores = SeveralModes(3, covariance, 0.02, seed=4).fit(TRAIN).score(CLEAN)  # type: ignore[arg-type]
    np.testing.assert_allclose(scores, expected, rtol=1e-10)


def test_one_mode_is_mgm() -> None:
    np.testing.assert_allclose(
        SeveralModes(1, "full", 0.03).fit(TRAIN).score(CLEAN),
        MultivariateGaussian(ridge=0.03).fit(TRAIN).score(CLEAN),
        rtol=1e-8,
    )


def test_mixtures_are_of_the_predicted_finding_or_of_all() -> None:
    options = ConditionalMixtures(modes=2, covariance="full", explained=1.0, ridge=0.05, least_films=40, seed=3)
    project = principal_axes(TRAIN.features, 1.0)
    values, top = project(TRAIN.features), TRAIN.logits.argmax(1)
    expected = []
    for row, finding in zip(project(CLEAN.features), CLEAN.logits.argmax(1), strict=True):
        own = values[top == finding] if (top == finding).sum() >= 40 else values
        mixture = GaussianMixture(2, reg_covar=0.05, random_state=3, max_iter=500).fit(own)
        expected.append(mixture.score_samples(row[None])[0])
    np.testing.assert_allclose(options.fit(TRAIN).score(CLEAN), expected, rtol=1e-9)


@pytest.mark.parametrize("bandwidth", [0.3, 2.0])
def test_kernel_density_is_scikit_learns(bandwidth: float) -> None:
    # One leaf holds all, so that scikit-learn adds up every kernel: with its default leaves the bounds of its tree
    # cancel where densities are tiny, and it is off by 100 nats from a sum at arbitrary precision (1.9.1).
    oracle = SklearnKernelDensity(bandwidth=bandwidth, leaf_size=len(TRAIN)).fit(as64(TRAIN))
    both = observed(
        *(np.concatenate(pair) for pair in ((CLEAN.features, SHIFTED.features), (CLEAN.logits, SHIFTED.logits)))
    )
    np.testing.assert_allclose(
        KernelDensity(bandwidth).fit(TRAIN).score(both), oracle.score_samples(as64(both)), rtol=1e-9
    )


def test_the_bandwidth_is_the_median_distance_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    distances, _ = NearestNeighbors(n_neighbors=2).fit(as64(TRAIN)).kneighbors()
    expected = KernelDensity(float(np.median(distances[:, 0]))).fit(TRAIN).score(CLEAN)
    monkeypatch.setattr("offline.detectors.neighbours.BLOCK", 33)
    np.testing.assert_allclose(KernelDensity().fit(TRAIN).score(CLEAN), expected, rtol=1e-8)


@pytest.mark.parametrize("neighbours", [2, 20])
def test_lid_is_the_naive_maximum_likelihood_estimate(neighbours: int) -> None:
    expected = []
    for row in as64(CLEAN):
        nearest = sorted(float(np.linalg.norm(row - other)) for other in as64(TRAIN))[:neighbours]
        expected.append(neighbours / -sum(np.log(r / nearest[-1]) for r in nearest))
    scores = LocalIntrinsicDimensionality(neighbours).fit(TRAIN).score(CLEAN)
    np.testing.assert_allclose(-scores, expected, rtol=1e-9)


@pytest.mark.parametrize("dimension", [2, 6])
def test_lid_finds_the_dimension_of_a_uniform_cloud(dimension: int) -> None:
    cloud = np.random.default_rng(0).uniform(-1, 1, size=(20_000, dimension))
    flat = np.concatenate([cloud, np.zeros((len(cloud), 3))], axis=1)  # further coordinates are constant
    estimates = lid(flat[:40] * 0.3, flat, 100)
    assert estimates.mean() == pytest.approx(dimension, rel=0.08)


def test_lid_of_a_copy_and_of_equal_distances_is_finite() -> None:
    reference = np.concatenate([np.eye(5), -np.eye(5)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(lid(np.concatenate([np.zeros((1, 5)), reference[:1]]), reference, 4)).all()
        assert np.isfinite(lid(np.ones((1, 5)), np.ones((9, 5)), 4)).all()


def test_lid_needs_more_films_than_neighbours() -> None:
    with pytest.raises(FilmsError, match="at least 21"):
        LocalIntrinsicDimensionality(20).fit(films(20))
    with pytest.raises(ValueError, match="says nothing"):
        LocalIntrinsicDimensionality(1).fit(TRAIN)
    with pytest.raises(ValueError, match="fewer than 20 neighbours"):
        LocalIntrinsicDimensionality(20, references=10).fit(TRAIN)


@pytest.mark.parametrize(
    "detector",
    [KernelDensity(2.0, references=50), LocalIntrinsicDimensionality(5, references=50), OneClassMachine(most_films=50)],
    ids=["kernel density", "lid", "one-class svm"],
)
def test_costly_detectors_keep_a_sample(detector: KernelDensity) -> None:
    kept = TRAIN.take(np.sort(np.random.default_rng(7).permutation(400)[:50]))
    other = replace(detector, seed=7)
    np.testing.assert_allclose(other.fit(TRAIN).score(CLEAN), other.fit(kept).score(CLEAN), rtol=1e-9)
    assert not np.allclose(other.fit(TRAIN).score(CLEAN), detector.fit(TRAIN).score(CLEAN))


def test_forest_and_machine_are_scikit_learns() -> None:
    forest = IsolationForest(n_estimators=50, random_state=3).fit(as64(TRAIN))
    np.testing.assert_array_equal(Forest(50, 3).fit(TRAIN).score(CLEAN), forest.score_samples(as64(CLEAN)))
    scaler = StandardScaler().fit(as64(TRAIN))
    machine = OneClassSVM(nu=0.1, gamma=1 / D).fit(scaler.transform(as64(TRAIN)))  # standardised: the variance is 1
    expected = machine.decision_function(scaler.transform(as64(CLEAN)))
    np.testing.assert_allclose(OneClassMachine(0.1).fit(TRAIN).score(CLEAN), expected, rtol=1e-6, atol=1e-9)


def test_regression_gives_the_log_odds_of_clean() -> None:
    together = np.concatenate([as64(TRAIN), as64(ATTACKED_TRAIN)])
    scaler = StandardScaler().fit(together)
    oracle = LogisticRegression(class_weight="balanced", max_iter=5000)
    oracle.fit(scaler.transform(together), np.repeat([1, 0], [400, 100]))
    probability = oracle.predict_proba(scaler.transform(as64(CLEAN)))[:, 1]
    scores = SupervisedRegression().fit(TRAIN, ATTACKED_TRAIN).score(CLEAN)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), probability, rtol=1e-9)


def test_regression_refuses_attacked_films_of_another_shape() -> None:
    with pytest.raises(ValueError, match="attacked films have 15 features, clean ones 16"):
        SupervisedRegression().fit(TRAIN, observed(ATTACKED_TRAIN.features[:, :15], ATTACKED_TRAIN.logits))
    with pytest.raises(FilmsError, match="of attacked films"):
        SupervisedRegression().fit(TRAIN, films(1))
