"""The comparison's measures are scikit-learn's, its thresholds hold what they promise, and its rows add up."""

import json
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, roc_curve

from offline.data.films import FilmsError
from offline.detectors import DETECTORS, Factory, MultivariateGaussian, Observed
from offline.detectors.comparison import DetectorMeasures, Material, compare, learning_curve, without_gate
from offline.detectors.measures import (
    FindingAuroc,
    bootstrap_weights,
    detection_at,
    detection_auroc,
    weighted_auroc,
    weighted_detection_auroc,
    weighted_rates,
)
from offline.gate.threshold import held_out_threshold
from offline.metrics import bootstrap_interval

D, L, N = 16, 14, 80
RATES = (0.001, 0.005, 0.01, 0.05)


def films(n: int, seed: int, shift: float = 0.0) -> Observed:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, D)) + shift * np.linspace(-1, 1, D)
    seen = features.astype(np.float32)
    return Observed(seen, seen, generator.normal(size=(n, L)).astype(np.float32))


def material() -> Material:
    test = films(N, 2)
    targets = (test.logits + np.random.default_rng(3).normal(size=(N, L)) > 1).astype(np.int64)
    targets[:, 13] = 0  # no film has this finding
    return Material(
        train=films(300, 0),
        val=films(199, 1),
        test=test,
        patients=np.random.default_rng(4).integers(0, 50, N),
        targets=targets,
        attacked={"weak": films(N, 5, 0.7), "strong": films(N, 6, 3.0), "opposite": films(N, 8, -3.0)},
        attacked_train={"strong": films(120, 7, 3.0)},
    )


MATERIAL = material()
FEW: dict[str, Factory] = {name: DETECTORS[name] for name in ("mgm-lambda", "isolation-forest", "logistic-regression")}
MGM = MultivariateGaussian().fit(MATERIAL.train)


@cache
def rows() -> dict[str, DetectorMeasures]:
    return {row.detector: row for row in compare(MATERIAL, FEW, repeats=200)}


@pytest.mark.parametrize("attack", ["weak", "strong"])
def test_a_row_is_scikit_learns(attack: str) -> None:
    row = rows()["mgm-lambda"]
    clean, attacked = MGM.score(MATERIAL.test), MGM.score(MATERIAL.attacked[attack])
    truth = np.repeat([0, 1], N)
    scores = np.concatenate([clean, attacked])
    predicted = scores < row.threshold.value
    measures = row.attacks[attack]
    assert row.threshold == held_out_threshold(MGM.score(MATERIAL.val), 0.05)
    assert measures.accuracy.value == pytest.approx(accuracy_score(truth, predicted))
    assert measures.f1.value == pytest.approx(f1_score(truth, predicted))
    assert measures.detection_auroc.value == pytest.approx(roc_auc_score(truth, -scores))
    assert measures.detected == predicted[N:].sum()
    assert measures.detection_rate.value == pytest.approx(measures.detected / N)
    assert row.false_rejections == predicted[:N].sum()
    assert (row.fitting_films, row.calibration_films, row.test_films, measures.n) == (300, 199, N, N)
    assert row.test_patients == len(set(MATERIAL.patients.tolist()))
    for one in (measures.detection_rate, measures.accuracy, measures.f1, measures.detection_auroc):
        assert one.low <= one.value <= one.high


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("levels", [5, 10**9], ids=["many ties", "no ties"])
@pytest.mark.parametrize("n", [80, 400])
def test_detection_on_the_roc_is_scikit_learns(rate: float, levels: int, n: int) -> None:
    generator = np.random.default_rng(0)
    clean, attacked = (generator.normal(size=n) * min(levels, 100), generator.normal(-1.5, 1, n) * min(levels, 100))
    if levels == 5:
        clean, attacked = np.round(clean / 5), np.round(attacked / 5)
    false, true, _ = roc_curve(np.repeat([0, 1], n), -np.concatenate([clean, attacked]), drop_intermediate=False)
    measured = detection_at(generator.normal(size=99), clean, attacked, rate, np.ones((2, n)))
    assert measured.on_roc == pytest.approx(true[false <= rate + 1e-12].max())


def test_detection_at_a_rate_that_held_out_films_cannot_give_is_left_open() -> None:
    measured = rows()["mgm-lambda"].attacks["strong"].detection_at
    assert tuple(one.false_rejection_rate for one in measured) == RATES
    assert [one.held_out is None for one in measured] == [True, False, False, False]  # 199 films reach 1 / 200
    assert measured[0].held_out_false_rejection_rate is None
    assert measured[3].held_out == rows()["mgm-lambda"].attacks["strong"].detection_rate
    assert measured[3].held_out_false_rejection_rate == rows()["mgm-lambda"].false_rejection_rate


def test_thresholds_reject_what_they_promise_on_average() -> None:
    """Conformal: over draws of calibration and test films the mean false-rejection rate is k / (m + 1)."""
    rates = []
    few: dict[str, Factory] = {"mgm": DETECTORS["mgm-lambda"]}
    for seed in range(60):
        drawn = replace(MATERIAL, val=films(99, 1000 + seed), test=films(N, 2000 + seed), attacked={})
        rates += [row.false_rejection_rate.value for row in compare(drawn, few, target=0.1, repeats=2)]
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) == pytest.approx(0.1, abs=4 * error)
    assert error < 0.01


def test_weighted_auroc_is_scikit_learns_weighted_average() -> None:
    targets, logits = MATERIAL.targets[:, :13], MATERIAL.test.logits[:, :13]
    each, weights = roc_auc_score(targets, logits, average=None), targets.sum(0)
    measured = weighted_auroc(MATERIAL.targets, MATERIAL.test.logits)
    assert measured.mean == pytest.approx(roc_auc_score(targets, logits, average="weighted"))
    assert measured.deviation == pytest.approx(np.sqrt(np.cov(each, fweights=weights, bias=True)))
    assert measured.findings == 13


def test_the_interval_of_weighted_auroc_is_that_of_films_drawn_again() -> None:
    """A draw as weights gives what scikit-learn gives on the films themselves, repeated as often as drawn."""
    weights = bootstrap_weights(MATERIAL.patients, 50, 0)
    rounded = np.round(MATERIAL.test.logits, 1)  # with ties
    drawn = []
    for weight in weights:
        index = np.repeat(np.arange(N), weight.astype(int))
        drawn.append(weighted_auroc(MATERIAL.targets[index], rounded[index]).mean)
    measured = weighted_auroc(MATERIAL.targets, rounded, weights)
    assert (measured.low, measured.high) == pytest.approx(np.percentile(np.array(drawn, float), [2.5, 97.5]))


def test_weighted_auroc_of_no_films_is_left_open() -> None:
    assert weighted_auroc(np.zeros((0, L)), np.zeros((0, L))).mean is None


def test_auroc_and_coverage_are_of_what_passes() -> None:
    row, attacked = rows()["mgm-lambda"], MATERIAL.attacked["weak"]
    passes = MGM.score(MATERIAL.test) >= row.threshold.value
    slips = MGM.score(attacked) >= row.threshold.value
    expected = weighted_auroc(
        np.concatenate([MATERIAL.targets[passes], MATERIAL.targets[slips]]),
        np.concatenate([MATERIAL.test.logits[passes], attacked.logits[slips]]),
    )
    measures = row.attacks["weak"]
    assert measures.passed_auroc.low < expected.mean < measures.passed_auroc.high
    assert _point(measures.passed_auroc) == expected
    assert measures.passed == passes.sum() + slips.sum()
    assert measures.coverage.value == pytest.approx(measures.passed / (2 * N))
    assert measures.coverage.low < measures.coverage.value < measures.coverage.high
    assert row.clean_coverage.value == pytest.approx(passes.mean())
    assert _point(row.clean_passed_auroc) == weighted_auroc(MATERIAL.targets[passes], MATERIAL.test.logits[passes])


def test_without_gate_everything_passes() -> None:
    clean, attacked = without_gate(MATERIAL)
    assert _point(clean) == weighted_auroc(MATERIAL.targets, MATERIAL.test.logits)
    both = np.concatenate([MATERIAL.test.logits, MATERIAL.attacked["weak"].logits])
    assert _point(attacked["weak"]) == weighted_auroc(np.tile(MATERIAL.targets, (2, 1)), both)


def _point(measured: FindingAuroc) -> FindingAuroc:
    """Without its interval."""
    return replace(measured, low=None, high=None)


def test_a_supervised_detector_knows_its_own_attack_and_misses_another() -> None:
    row = rows()["logistic-regression"]
    assert row.supervised
    assert row.trained_on == "strong"
    assert {name: measures.seen for name, measures in row.attacks.items()} == {
        "weak": False,
        "strong": True,
        "opposite": False,
    }
    assert row.attacks["strong"].detection_rate.value == 1
    assert row.attacks["opposite"].detection_rate.value < 0.1  # the paper's point
    assert rows()["mgm-lambda"].attacks["opposite"].detection_rate.value > 0.95
    assert not rows()["mgm-lambda"].supervised
    assert rows()["mgm-lambda"].trained_on is None


def test_a_supervised_detector_has_a_row_for_each_training_attack() -> None:
    few: dict[str, Factory] = {"logistic-regression": DETECTORS["logistic-regression"]}
    two = replace(MATERIAL, attacked_train={"strong": films(90, 7, 3.0), "weak": films(90, 9, 0.7)})
    assert [row.trained_on for row in compare(two, few, repeats=2)] == ["strong", "weak"]
    assert not list(compare(replace(MATERIAL, attacked_train={}), few, repeats=2))


def test_intervals_are_those_of_bootstrap_interval() -> None:
    clean, attacked = MGM.score(MATERIAL.test), np.round(MGM.score(MATERIAL.attacked["weak"]))
    caught = attacked < np.median(clean)
    weights = bootstrap_weights(MATERIAL.patients, 100, 6)
    for draws, statistic in (
        (weighted_rates(caught, weights), lambda i: float(caught[i].mean())),
        (weighted_detection_auroc(clean, attacked, weights), lambda i: detection_auroc(clean[i], attacked[i])),
    ):
        expected = bootstrap_interval(MATERIAL.patients, statistic, repeats=100, seed=6)
        np.testing.assert_allclose(np.percentile(draws, [2.5, 97.5]), expected, rtol=1e-12)


def test_equal_scores_count_half() -> None:
    rounded = np.round(MGM.score(MATERIAL.test))
    assert weighted_detection_auroc(rounded, rounded, np.ones((1, N)))[0] == pytest.approx(0.5)


def test_the_same_seed_gives_the_same_table_and_json_takes_it() -> None:
    again = {row.detector: row for row in compare(MATERIAL, FEW, repeats=200)}
    assert again == rows()
    assert json.loads(json.dumps(asdict(rows()["mgm-lambda"]), allow_nan=False))["attacks"]["weak"]["n"] == N


def test_every_registered_detector_has_a_row() -> None:
    table = list(compare(MATERIAL, repeats=10))
    assert [row.detector for row in table] == list(DETECTORS)
    for row in table:
        # Where answers say nothing of the features, as in these films, the relative distance has nothing to go by.
        if row.detector != "relative-mahalanobis":
            assert row.attacks["strong"].detection_auroc.value > 0.9, row.detector


def test_too_few_held_out_films_is_an_error() -> None:
    with pytest.raises(FilmsError, match="18 held-out films are too few"):
        list(compare(replace(MATERIAL, val=films(18, 1)), FEW))


def test_films_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="attack short has 5 films; it must have each of the 80"):
        replace(MATERIAL, attacked={"short": films(5, 0)})
    with pytest.raises(ValueError, match="patients of shape"):
        replace(MATERIAL, patients=np.arange(3))
    with pytest.raises(ValueError, match="no test films"):
        replace(MATERIAL, test=films(0, 0))


def test_the_learning_curve_repeats_and_ends_at_the_whole() -> None:
    points = list(learning_curve(MATERIAL, [20, 300], seeds=(0, 1)))
    assert [(point.detector, point.seed, point.n) for point in points] == [
        (name, seed, n) for name in ("mgm-lambda", "pca-mgm") for seed in (0, 1) for n in (20, 300)
    ]
    assert points == list(learning_curve(MATERIAL, [20, 300], seeds=(0, 1)))
    whole = points[1]
    assert whole.false_rejection_rate == rows()["mgm-lambda"].false_rejection_rate.value
    assert whole.detection_rate["weak"] == rows()["mgm-lambda"].attacks["weak"].detection_rate.value
    assert points[0].detection_rate["strong"] < whole.detection_rate["strong"]  # 20 films for 16 dimensions are few


def test_a_curve_past_the_films_is_an_error() -> None:
    with pytest.raises(FilmsError, match="301 films, and there are 300"):
        list(learning_curve(MATERIAL, [301]))
