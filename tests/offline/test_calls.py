"""Calibration, points and band, against known distributions, scipy, and a network whose movement is known exactly."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from app.pipeline.labels import LABELS
from app.pipeline.outputs import Outputs
from offline.calls.calibration import calibrate
from offline.calls.fitting import MIN_POSITIVES, CallOptions, findings_of, lower_bound, youden_logit
from offline.calls.measuring import calibration_error, measure_calls, reliability
from offline.calls.movement import Movement, measure_movement, upper_bound
from offline.calls.plot import plots, wilson
from offline.calls.prevalence import CHEST_XRAY14, counted, read_prevalence
from offline.data.films import FilmsError

COUNT = len(LABELS)
CPU = torch.device("cpu")


def simulated(films: int, seed: int, slope: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of which the true log odds are ``slope * logit - 1``."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, 1.5, (films, COUNT))
    return logits, (generator.random(logits.shape) < expit(slope * logits - 1)).astype(np.float32)


def test_calibration_finds_the_true_log_odds() -> None:
    logits, targets = simulated(4_000, 1)
    found = calibrate(logits, targets, np.arange(len(logits)))
    np.testing.assert_allclose(found.slopes, 0.7, atol=0.08)
    np.testing.assert_allclose(found.intercepts, -1, atol=0.12)
    np.testing.assert_allclose(found.prevalences, targets.mean(axis=0), atol=1e-3)


def test_few_films_share_a_slope() -> None:
    """Each finding's own regression scatters about the truth, which is one slope for all."""
    logits, targets = simulated(120, 2)
    found = calibrate(logits, targets, np.arange(len(logits)))
    own = [LogisticRegression(C=np.inf).fit(logits[:, [k]], targets[:, k]).coef_[0, 0] for k in range(COUNT)]
    assert np.abs(found.slopes - 0.7).mean() < 0.6 * np.abs(np.array(own) - 0.7).mean()
    assert found.pull > 1


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["none", "all"])
def test_a_finding_of_no_film_or_of_all_has_a_calibration_too(share: float) -> None:
    logits, targets = simulated(100, 3)
    targets[:, 4] = share
    found = calibrate(logits, targets, np.arange(100))
    probability = expit(found.log_odds(logits))[:, 4]
    assert np.isfinite(probability).all()
    assert (probability > 0.5).all() == bool(share)


def test_another_prevalence_is_calibrated_on_films_of_that_prevalence() -> None:
    """Films with the finding are made eight times as rare, and the adjusted probabilities still hold."""
    logits, targets = simulated(40_000, 4)
    found = calibrate(logits[:4_000], targets[:4_000], np.arange(4_000))
    keep = (targets[:, 0] == 0) | (np.random.default_rng(0).random(len(targets)) < 1 / 8)
    rare = targets[keep, 0].mean()
    adjusted = found.at(np.full(COUNT, rare))
    probability = expit(adjusted.log_odds(logits[keep]))[:, 0]
    assert probability.mean() == pytest.approx(rare, abs=0.006)
    weights = np.ones(keep.sum())
    assert calibration_error(probability, targets[keep, 0] > 0, weights) < 0.012
    assert calibration_error(expit(found.log_odds(logits[keep]))[:, 0], targets[keep, 0] > 0, weights) > 0.1


def test_points_have_the_specificity_asked_for_and_its_bound() -> None:
    logits, targets = simulated(500, 5)
    calibration = calibrate(logits, targets, np.arange(500))
    moved = Movement(np.full((80, COUNT), 0.3), np.full(COUNT, 0.3))
    for column, finding in enumerate(findings_of(logits, targets, calibration, CallOptions(), moved)):
        assert finding.present_from is not None
        assert finding.absent_below is not None
        present, absent = finding.logit_of(finding.present_from), finding.logit_of(finding.absent_below)
        negatives, positives = logits[targets[:, column] == 0, column], logits[targets[:, column] == 1, column]
        quiet = int((negatives < present).sum())
        bound = binomtest(quiet, len(negatives), alternative="greater").proportion_ci(0.95, "exact").low
        assert quiet / len(negatives) >= 0.95
        assert bound >= 0.92
        # One film less, and one of the two would not hold.
        less = binomtest(quiet - 1, len(negatives), alternative="greater").proportion_ci(0.95, "exact").low
        assert less < 0.92 or (quiet - 1) / len(negatives) < 0.95
        assert present - absent == pytest.approx(0.3, abs=1e-6)
        assert finding.specificity == quiet / len(negatives)
        assert finding.specificity_lower_bound == pytest.approx(bound)
        assert finding.sensitivity == (positives >= present).mean()
        assert finding.missed == (positives < absent).mean()
        assert finding.movement == 0.3
        assert len(finding.logits_without) == len(finding.logits_with) == 101


def test_a_band_in_deviations() -> None:
    logits, targets = simulated(300, 6)
    calibration = calibrate(logits, targets, np.arange(300))
    options = CallOptions(band=0.5, movement_films=0)
    for column, finding in enumerate(findings_of(logits, targets, calibration, options)):
        assert finding.present_from is not None
        assert finding.absent_below is not None
        width = finding.logit_of(finding.present_from) - finding.logit_of(finding.absent_below)
        assert width == pytest.approx(0.5 * logits[:, column].std(), abs=1e-6)
        assert finding.movement is None


@pytest.mark.parametrize(("positives", "called"), [(0, False), (MIN_POSITIVES - 1, False), (MIN_POSITIVES, True)])
def test_a_finding_of_too_few_films_is_not_called(positives: int, called: bool) -> None:
    logits, targets = simulated(300, 7)
    targets[:, 2] = 0
    targets[:positives, 2] = 1
    found = findings_of(logits, targets, calibrate(logits, targets, np.arange(300)), CallOptions(band=0.4))[2]
    assert (found.present_from is not None) == (found.absent_below is not None) == called
    assert (found.specificity is not None) == called
    assert found.held_out_positives == positives


def test_too_few_films_for_the_bound_call_nothing() -> None:
    logits, targets = simulated(30, 8)  # the bound of 30 of 30 is .905
    calibration = calibrate(logits, targets, np.arange(30))
    assert all(f.present_from is None for f in findings_of(logits, targets, calibration, CallOptions(band=0.4)))


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (7, 10), (10, 10), (119, 125)])
def test_the_lower_bound_is_clopper_pearsons(successes: int, count: int) -> None:
    expected = binomtest(successes, count, alternative="greater").proportion_ci(0.95, "exact").low
    assert lower_bound(successes, count) == pytest.approx(expected, abs=1e-12)


def test_youden() -> None:
    logits = np.array([0.0, 1.0, 2.0, 3.0])
    assert youden_logit(logits, np.array([False, False, True, True])) == 2.0
    assert youden_logit(logits, np.array([False, True, False, True])) in {1.0, 3.0}
    assert youden_logit(logits, np.zeros(4, bool)) == 0.0


class Linear(nn.Module):
    """Logits that are weighted sums of pixels: within epsilon, each moves by epsilon times the sum of the weights' sizes."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(COUNT, side * side, generator=torch.Generator().manual_seed(1)))

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        flat = images.flatten(1)
        return Outputs(flat, flat, flat @ self.weights.T)


def test_the_movement_of_a_linear_network_is_exact_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    network = Linear(6).eval()
    images = 0.3 + 0.4 * torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    found = measure_movement(network, images, CPU, tmp_path)
    expected = 2 / 255 * network.weights.abs().sum(1).detach().numpy()
    np.testing.assert_allclose(found.films, np.tile(expected, (12, 1)), rtol=1e-4)
    np.testing.assert_allclose(found.bounds, expected, rtol=1e-4)
    (tmp_path / "movement-3.npy").unlink()
    np.save(tmp_path / "movement-5.npy", np.full(12, 9.0))
    again = measure_movement(network, images, CPU, tmp_path)
    np.testing.assert_array_equal(again.films[:, 3], found.films[:, 3])
    assert (again.films[:, 5] == 9.0).all()


def test_a_curved_network_is_ascended_to_its_top(tmp_path: Path) -> None:
    """The first step overshoots the top of a hill, which lies inside the ball; the steps after it come back."""

    class Hill(nn.Module):
        def forward(self, images: Tensor) -> Outputs[Tensor]:
            flat = images.flatten(1)
            top = -(((flat - 0.5 - 1 / 255) * 255) ** 2).mean(1, keepdim=True)
            return Outputs(flat, flat, top.repeat(1, COUNT))

    grey = torch.full((3, 1, 4, 4), 127 / 255)
    found = measure_movement(Hill(), grey, CPU, tmp_path, epsilon=4 / 255)
    up = (0.5 * 255 + 1 - 127) ** 2 - 0.25  # on the 8-bit grid the top is missed by half a level
    down = (0.5 * 255 + 1 - 123) ** 2 - (0.5 * 255 + 1 - 127) ** 2
    np.testing.assert_allclose(found.films, max(up, down), rtol=1e-3)


def test_the_bound_covers_as_it_says() -> None:
    """Of 400 samples of 139, the bound is over the true 95th percentile in 95 % and more."""
    films = np.random.default_rng(3).exponential(size=(139, 400))
    assert (upper_bound(films) >= -np.log(0.05)).mean() >= 0.94
    assert (upper_bound(films) < films.max(axis=0)).all()


def test_with_few_films_the_bound_is_the_largest() -> None:
    films = np.random.default_rng(4).random((20, len(LABELS)))
    np.testing.assert_array_equal(upper_bound(films), films.max(axis=0))


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    probability = np.array([0.1, 0.2, 0.8, 0.9])
    truth = np.array([False, True, True, True])
    weights = np.ones(4)
    assert calibration_error(probability, truth, weights, 2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.15)
    parts = reliability(probability, truth, weights, 2)
    assert [(round(p["mean"], 2), p["share"], p["weight"]) for p in parts] == [(0.15, 0.5, 0.5), (0.85, 1.0, 0.5)]


def test_what_is_measured_on_films_counts_calls_by_hand() -> None:
    logits, targets = simulated(400, 9)
    findings = findings_of(logits, targets, calibrate(logits, targets, np.arange(400)), CallOptions(band=0.4))
    other, truth = simulated(300, 10)
    truth[:40] = 0
    found = measure_calls(findings, other, truth)
    present = np.stack([other[:, k] >= f.logit_of(f.present_from or 1) for k, f in enumerate(findings)], axis=1)
    above = np.stack([other[:, k] >= f.logit_of(f.absent_below or 1) for k, f in enumerate(findings)], axis=1)
    clear = truth.sum(axis=1) == 0
    assert found["films_without_findings"] == clear.sum()
    assert found["false_calls_on_a_film_without_findings"] == pytest.approx(present[clear].sum(axis=1).mean())
    assert found["films_without_findings_with_a_call"] == pytest.approx(present[clear].any(axis=1).mean())
    assert found["indeterminate"] == pytest.approx((above & ~present).mean())
    assert found["precision_of_present"] == pytest.approx(truth[present].mean())
    for k, row in enumerate(found["findings"]):
        assert row["specificity"] == pytest.approx((~present[truth[:, k] == 0, k]).mean())


def test_prevalences_are_those_of_the_whole_collection(shared_data: Path) -> None:
    counts = counted(shared_data / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz")
    found = read_prevalence(CHEST_XRAY14)
    assert counts["films"] == 112_120
    assert found == {name: pytest.approx(counts[name] / 112_120, abs=1e-6) for name in LABELS}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("finding,share\nMass,.1\n", "needs the columns"),
        ("finding,prevalence\nMass,.1\n", "has no line for Atelectasis"),
        ("finding,prevalence\n" + "".join(f"{name},{int(name == 'Mass')}\n" for name in LABELS), "is not over 0"),
        ("finding,prevalence\nMass,much\n", "needs the columns"),
    ],
)
def test_a_table_of_prevalences_that_cannot_be_used(text: str, words: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(FilmsError, match=words):
        read_prevalence(table)


def test_the_shift_is_of_log_odds() -> None:
    logits, targets = simulated(200, 11)
    found = calibrate(logits, targets, np.arange(200))
    there = found.at(np.full(COUNT, 0.02))
    np.testing.assert_allclose(there.intercepts - found.intercepts, logit(0.02) - logit(found.prevalences), rtol=1e-12)


def test_the_pictures_are_drawn_and_are_the_same_for_the_same_numbers() -> None:
    logits, targets = simulated(200, 12)
    targets[:, 3] = 0  # not called, and on no film
    findings = findings_of(logits, targets, calibrate(logits, targets, np.arange(200)), CallOptions(band=0.4))
    measured = measure_calls(findings, logits, targets)
    drawn = plots(measured)
    assert sorted(drawn) == ["calls.png", "reliability.png"]
    assert drawn == plots(measured)
    for picture in drawn.values():
        assert np.asarray(Image.open(io.BytesIO(picture)).convert("L")).std() > 5


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(np.array([0.3, 0.0]), np.array([20.0, 50.0]))
    for place, (successes, count) in enumerate(((6, 20), (0, 50))):
        expected = binomtest(successes, count).proportion_ci(0.95, "wilson")
        assert (low[place], high[place]) == pytest.approx((expected.low, expected.high), abs=1e-12)
