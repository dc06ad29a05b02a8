"""Recalibration for a site: the estimator against its formulas, the split, the checks, and the command from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm

from app import __version__
from app.cli import main as cxr_gate
from app.pipeline import read_bundle
from app.pipeline.bundle import MANIFEST, NETWORK
from app.pipeline.gate import GAUSSIAN
from app.pipeline.gaussian import Gaussian
from app.pipeline.signature import TrustedKeys
from offline.cli import REFUSED, main
from offline.data.films import FilmsError
from offline.gate.moments import Moments
from offline.recalibrate.compare import GateJudgement, detection_rows, false_rejection, group_rows
from offline.recalibrate.estimate import FOLDS, PSEUDO_FILMS, RIDGE_KEPT, estimate, moments_of, posterior, prior_of
from offline.recalibrate.recalibration import fit_site, refusals
from offline.recalibrate.site import read_site
from offline.recalibrate.suspicion import (
    LEAST_APART_DENSITY,
    LEAST_COHORT,
    MOST_APART_DENSITY,
    apart_density,
    residual_energy,
    robust_z,
)
from offline.recalibrate.tables import ATTACKS, filled
from tests.support.bundles import write_random_bundle

ROOT = Path(__file__).resolve().parents[2]
D = 6


def base_gaussian(d: int = D) -> Gaussian:
    mixing = np.random.default_rng(0).normal(size=(d, d)) + 3 * np.eye(d)
    return Gaussian(np.arange(d, dtype=np.float64), np.linalg.cholesky(mixing @ mixing.T))


def drawn(gaussian: Gaussian, n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    unit = np.random.default_rng(seed).normal(size=(n, len(gaussian.mean)))
    return unit @ gaussian.cholesky_factor.T + gaussian.mean + shift


def people(n: int) -> np.ndarray:
    return np.array([f"{number:03d}" for number in range(n)])


@pytest.mark.parametrize("n", [1, 4, 50])
@pytest.mark.parametrize("k", [1, 30])
def test_posterior_is_the_normal_inverse_wisharts_mean(n: int, k: int) -> None:
    base = base_gaussian()
    films = drawn(base, n, 1, shift=2.0)
    found = posterior(moments_of(base), Moments.of(films), k)
    # Gelman et al., section 3.6, with nu_0 = k + d + 1, term by term.
    prior = base.cholesky_factor @ base.cholesky_factor.T
    nu_0 = k + D + 1
    lambda_0 = (nu_0 - D - 1) * prior
    mean = films.mean(axis=0)
    scatter = sum(np.outer(film - mean, film - mean) for film in films)
    difference = mean - base.mean
    lambda_n = lambda_0 + scatter + k * n / (k + n) * np.outer(difference, difference)
    np.testing.assert_allclose(found.mean, (k * base.mean + n * mean) / (k + n))
    np.testing.assert_allclose(found.cholesky_factor @ found.cholesky_factor.T, lambda_n / (nu_0 + n - D - 1))


def test_the_prior_is_the_base_with_less_of_its_ridge() -> None:
    ridge = 0.5
    films = drawn(base_gaussian(), D // 2, 1)  # fewer than dimensions: without a ridge the covariance would be singular
    scatter = np.cov(films, rowvar=False, bias=True)
    base = Gaussian(films.mean(axis=0), np.linalg.cholesky(scatter + ridge * np.eye(D)))
    prior = prior_of(base, f"lambda={ridge}")
    np.testing.assert_allclose(prior.covariance, scatter + RIDGE_KEPT * ridge * np.eye(D), atol=1e-9)
    np.testing.assert_array_equal(prior.mean, base.mean)
    twice = prior_of(Gaussian(base.mean, np.linalg.cholesky(prior.covariance)), f"lambda={ridge}")
    np.linalg.cholesky(twice.covariance)  # a base that was recalibrated has less of it than its manifest says
    np.testing.assert_array_equal(prior_of(base, "oas=0.1").covariance, moments_of(base).covariance)


def test_the_base_counts_for_much_where_the_site_is_like_it_and_for_little_where_not() -> None:
    base = base_gaussian()
    alike = estimate(moments_of(base), drawn(base, 200, 1), people(200), 0)
    moved = estimate(moments_of(base), 0.2 * drawn(base, 200, 1) + 40.0, people(200), 0)
    assert alike.pseudo_films >= 512
    assert moved.pseudo_films == PSEUDO_FILMS[0]
    fresh = 0.2 * drawn(base, 100, 2) + 40.0
    assert moved.gaussian.log_density(fresh).mean() > base.log_density(fresh).mean() + 100


def test_films_are_judged_by_a_gaussian_that_has_not_seen_their_patient() -> None:
    base = base_gaussian()
    films = drawn(base, 40, 1, shift=3.0)
    patients = np.repeat(people(10), 4)
    found = estimate(moments_of(base), films, patients, seed=2)
    assert all(len(set(found.fold_of[patients == patient])) == 1 for patient in patients)
    for fold in range(FOLDS):
        rest = posterior(moments_of(base), Moments.of(films[found.fold_of != fold]), found.pseudo_films)
        mine = np.flatnonzero(found.fold_of == fold)
        np.testing.assert_allclose(found.held_out(films[mine], mine), rest.log_density(films[mine]))


def test_fewer_patients_than_folds() -> None:
    with pytest.raises(FilmsError, match="of 4 patients; at least 5"):
        estimate(moments_of(base_gaussian()), np.zeros((40, D)), np.repeat(people(4), 10), seed=0)


def test_the_threshold_keeps_the_target_on_fresh_films_of_a_shifted_site() -> None:
    base = base_gaussian()
    rates = []
    for seed in range(20):
        fitted, threshold, scores = fit_site(moments_of(base), drawn(base, 60, seed, shift=2.0), people(60), 0.1, seed)
        fresh = drawn(base, 2000, 1000 + seed, shift=2.0)
        rates.append(float((fitted.gaussian.log_density(fresh) < threshold.value).mean()))
        assert int((scores < threshold.value).sum()) == 5  # floor(0.1 * 61) = 6: the threshold is the sixth smallest
    assert 0.05 < np.mean(rates) < 0.11


def write_films(folder: Path, count: int, *, grain: float = 4.0, seed: int = 0) -> list[str]:
    """Smooth films, one patient each, with a scanner's noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    names = []
    for number in range(count):
        coarse = Image.fromarray(generator.integers(60, 200, (8, 8), dtype=np.uint8)).resize((224, 224))
        noisy = np.asarray(coarse, np.float64) + generator.normal(0, grain, (224, 224))
        names.append(f"{seed}-{number}.png")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / names[-1])
    return names


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_site_is_read_with_its_table(tmp_path: Path) -> None:
    names = write_films(tmp_path / "films", 20)
    (tmp_path / "films" / "sub").mkdir()
    (tmp_path / "films" / "sub" / "again.png").write_bytes((tmp_path / "films" / names[0]).read_bytes())
    table = write_table(
        tmp_path / "table.csv",
        [{"file": name, "patient": f"p{number // 2}", "view": "PA"} for number, name in enumerate(names)]
        + [{"file": "sub/again.png", "patient": "p0", "view": "PA"}],
    )
    site = read_site(tmp_path / "films", table, 0.05)
    assert (len(site.films), site.repeats, site.patients, site.patients_known) == (20, 1, 10, True)
    assert set(site.groups) == {("view PA",)}
    assert read_site(tmp_path / "films", None, 0.05).sha256 == site.sha256


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"name": "a"}], "no column 'file'"),
        ([{"file": "0-0.png"}], r"18 films are not in the table \(first: 0-1.png\)"),
        ([{"file": f"0-{number}.png"} for number in range(20)], r"1 rows have no film \(first: 0-19.png\)"),
        ([{"file": f"0-{number}.png", "patient": ""} for number in range(19)], "rows without a patient"),
    ],
    ids=["no-file-column", "unlisted", "absent", "no-patient"],
)
def test_a_table_that_does_not_fit(rows: list[dict[str, str]], reason: str, tmp_path: Path) -> None:
    write_films(tmp_path / "films", 19)
    with pytest.raises(FilmsError, match=reason):
        read_site(tmp_path / "films", write_table(tmp_path / "table.csv", rows), 0.05)


def test_residual_energy_is_the_noises_and_not_the_anatomys() -> None:
    slope = torch.linspace(0, 1, 224).expand(1, 1, 224, 224)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 1, 224, 224))).float()
    assert residual_energy(slope)[0] == pytest.approx(0, abs=0.01)
    # A 3x3 mean leaves 8/9 of the variance; of |N(0, 1)| the lower three quarters have this mean.
    edge = norm.ppf(0.875)
    expected = np.sqrt(8 / 9) * 2 * (norm.pdf(0) - norm.pdf(edge)) / 0.75
    energies = [residual_energy((0.5 * slope + 0.2 + levels / 255 * noise).clamp(0, 1))[0] for levels in (1, 4)]
    assert energies == pytest.approx([expected, 4 * expected], rel=0.03)


def judged(threshold: float) -> GateJudgement:
    attacked = np.full(10, -3.0)
    return GateJudgement(threshold, np.array([-1.0, -1.5, -3.0, -5.0]), {"FGSM 0.02": attacked, "FGSM 1/255": attacked})


def test_rates_before_and_after_are_counted_by_group() -> None:
    strict, loose = judged(-2.0), judged(-4.0)
    row = false_rejection(strict, loose, people(4))
    assert (row["before"]["rejected"], row["after"]["rejected"], row["films"]) == (2, 1, 4)
    groups = [("view PA", "sex F"), ("view PA",), ("view AP",), ("view PA",)]
    rows = group_rows(strict, loose, people(4), groups, least=2)
    assert [(row["group"], row["before"]["rejected"], row["after"]["rejected"]) for row in rows] == [("view PA", 1, 1)]


def test_detection_that_falls_is_refused_and_that_of_hard_cases_is_told() -> None:
    rows = detection_rows(judged(-2.0), judged(-4.0))
    assert [(row["before"]["detected"], row["after"]["detected"]) for row in rows] == [(10, 0), (10, 0)]
    # Of four clean scores, two are over and one equals that of every attacked film.
    assert all(row["before"]["auroc"] == row["after"]["auroc"] == 0.625 for row in rows)
    (reason,) = refusals([], rows, 0.02)
    assert "FGSM 0.02 would fall from 100.0% to 0.0%" in reason
    assert refusals([], rows, 1.0) == []


def recalibrate(folder: Path, *more: str | Path) -> int:
    common = ["--device", "cpu", "--workers", "0", "--attack-films", "1", "--most-detection-loss", "1"]
    arguments = ["--bundle", folder / "base", "--films", folder / "films", "--output", folder / "new", *common, *more]
    return main(["recalibrate", *map(str, arguments)])


def test_a_new_version_that_verifies_and_names_its_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = read_bundle(write_random_bundle(tmp_path / "base", -900.0, floor=-1e9))
    names = write_films(tmp_path / "films", 30)
    table = write_table(
        tmp_path / "table.csv",
        [{"file": name, "patient": name, "view": "PA" if n % 4 else "AP"} for n, name in enumerate(names)],
    )
    key, trusted = tmp_path / "key", tmp_path / "key.pem"
    assert main(["new-signing-key", "--output", str(key)]) == 0
    signed = ("--table", table, "--target", "0.1", "--sign-with", key, "--trusted-keys", trusted)
    assert recalibrate(tmp_path, *signed) == 1
    assert "the bundle is not signed" in capsys.readouterr().err  # nobody's base becomes a signed bundle
    assert main(["sign", str(tmp_path / "base"), "--key", str(key)]) == 0
    assert recalibrate(tmp_path, *signed) == 0
    assert cxr_gate(["verify-bundle", str(tmp_path / "new"), "--trusted-keys", str(trusted)]) == 0
    assert cxr_gate(["check-bundle", str(tmp_path / "new"), "--device", "cpu"]) == 0
    new = read_bundle(tmp_path / "new").manifest
    told = json.loads((tmp_path / "new" / "report" / "recalibration.json").read_text())
    assert new.model_version != base.manifest.model_version
    assert new.files[NETWORK] == base.manifest.files[NETWORK]
    assert new.files[GAUSSIAN] != base.manifest.files[GAUSSIAN]
    assert new.orientation.least_log_density != base.manifest.orientation.least_log_density
    assert (new.gate.n, new.gate.calibration_n, new.gate.target_false_rejection_rate) == (32, 30, 0.1)
    assert new.recalibration is not None
    assert new.recalibration.base_version == base.manifest.model_version == told["base_version"]
    assert new.recalibration.base_signed_by in TrustedKeys.read(trusted).ids
    assert new.recalibration.code is not None
    assert new.recalibration.code.startswith(__version__)
    assert new.recalibration.n == 30
    assert "recalibrate" in new.recalibration.command
    assert told["false_rejection"]["after"]["rejected"] == 2  # floor(0.1 * 31) = 3: the third smallest score
    assert {row["group"]: row["films"] for row in told["groups"]} == {"view PA": 22}
    assert (tmp_path / "new-report" / "recalibration.png").read_bytes()[:4] == b"\x89PNG"
    assert new.gate.threshold == told["threshold"]["after"]
    assert "## Recalibrated for a site" in (tmp_path / "new" / "MODEL_CARD.md").read_text()
    assert new.model_version in capsys.readouterr().out
    # The version covers the recalibration: another base named in the manifest is an edit that shows.
    manifest = tmp_path / "new" / MANIFEST
    manifest.write_text(manifest.read_text().replace(new.recalibration.site_sha256, "0" * 64))
    assert cxr_gate(["check-bundle", str(tmp_path / "new"), "--device", "cpu"]) == 1


def test_films_that_stand_apart_are_refused_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_random_bundle(tmp_path / "base", -900.0, floor=-1e9)
    write_films(tmp_path / "films", 18)
    write_films(tmp_path / "films", 2, grain=12.0, seed=9)
    assert recalibrate(tmp_path) == REFUSED
    reason = capsys.readouterr().err
    assert "the films look attacked" in reason
    assert "9-" in reason
    assert not (tmp_path / "new").exists()
    told = json.loads((tmp_path / "new-report" / "recalibration.json").read_text())
    assert told["refusals"]


def test_a_wrong_call_is_no_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_random_bundle(tmp_path / "base", -900.0, floor=-1e9)
    write_films(tmp_path / "films", 5)
    assert recalibrate(tmp_path) == 1
    assert "5 films of the site are too few" in capsys.readouterr().err


def test_a_minority_stands_apart_unless_it_is_another_scanners() -> None:
    grain = np.concatenate([np.random.default_rng(0).normal(1.0, 0.05, 80), np.full(20, 3.0)])
    one, two = np.full(100, "a"), np.repeat(["a", "b"], [80, 20])
    assert (robust_z(grain, one) > 5).sum() == 20
    assert (robust_z(grain, two) > 5).sum() == 0
    few = np.repeat(["a", "b", "c"], [91, LEAST_COHORT - 1 - 4, 4])  # b and c are taken together
    assert np.isfinite(robust_z(grain[few != "a"], few[few != "a"])).all()


def test_a_log_density_stands_apart_beyond_what_the_base_has_seen_of_clean_films() -> None:
    scores = np.random.default_rng(0).normal(0, 1, 200)
    assert apart_density(scores) == LEAST_APART_DENSITY
    scores[0] = -12.0  # deviations are about 1
    assert 12 < apart_density(scores) < 18
    scores[0] = -1000.0
    assert apart_density(scores) == MOST_APART_DENSITY
    assert apart_density(np.zeros(0)) == LEAST_APART_DENSITY


def test_tables_come_from_the_report_into_their_places() -> None:
    rates = {"detected": 9, "detection_rate": 0.9, "auroc": 0.95}
    names = [*ATTACKS, "selective 2/255"]
    gate = {"false_rejection_rate": 0.04, "detection": dict.fromkeys(names, rates), "refused_for_detection": False}
    evidence = {"apart": {"share": 0.2, "suspicious": True}}
    scenario = {
        "before": {**gate, "false_rejection_rate": 0.57},
        "threshold_alone": gate,
        "learning_curve": [{**gate, "films": 20}, {**gate, "films": 20, "false_rejection_rate": 0.06}],
        "harmless": [{"films": "blur", "evidence": evidence}],
        "poison_films": {"selective 2/255": 40},
        "poisoning": [{"attack": "BIM", "share": 0.1, "films": 20, "draws": [{**gate, "evidence": evidence}]}],
    }
    page = filled((ROOT / "docs" / "recalibration.md").read_text(), scenario)
    assert "| the base's | 57.0% | 90.0% |" in page
    assert "| 20 films | 5.0% (4.0% to 6.0%) |" in page
    assert "| blur | 20.0%, suspicious |" in page
    assert "| BIM | 10% (20 films) | 1 of 1 | 0 of 1 | 4.0% |" in page
    assert filled(page, scenario) == page
