"""Recalibration for a site: the estimator against its formulas, the split, the checks, and the command from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main as cxr_gate
from app.pipeline import read_bundle
from app.pipeline.bundle import GAUSSIAN, MANIFEST, NETWORK
from app.pipeline.gaussian import Gaussian
from offline.cli import REFUSED, main
from offline.films import Film, FilmsError
from offline.moments import Moments
from offline.recalibrate.command import refusals
from offline.recalibrate.compare import Gate, detection_rows, false_rejection, group_rows
from offline.recalibrate.estimate import LEAST_FITTED, PSEUDO_FILMS, estimate, posterior
from offline.recalibrate.site import read_site, split_films
from offline.recalibrate.suspicion import residual_energy
from tests.bundles import write_random_bundle

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
    found = posterior(base, Moments.of(films), k)
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


def test_the_base_counts_for_much_where_the_site_is_like_it_and_for_little_where_not() -> None:
    base = base_gaussian()
    alike = estimate(base, drawn(base, 200, 1), people(200))
    moved = estimate(base, 0.2 * drawn(base, 200, 1) + 40.0, people(200))
    assert alike.pseudo_films is not None
    assert moved.pseudo_films is not None
    assert alike.pseudo_films >= 512
    assert moved.pseudo_films == PSEUDO_FILMS[0]
    fresh = 0.2 * drawn(base, 100, 2) + 40.0
    assert moved.gaussian.log_density(fresh).mean() > base.log_density(fresh).mean() + 100


def test_too_few_films_leave_the_bases_gaussian() -> None:
    base = base_gaussian()
    kept = estimate(base, drawn(base, LEAST_FITTED - 1, 1), people(LEAST_FITTED - 1))
    assert (kept.gaussian, kept.n, kept.pseudo_films) == (base, 0, None)


def film(number: int, patient: str) -> Film:
    return Film(Path(f"{number}.png"), patient, "train", (), (), "", "", -1)


@pytest.mark.parametrize(("n", "held_out"), [(19, 19), (20, 19), (38, 19), (100, 50)])
def test_the_threshold_has_films_before_the_gaussian(n: int, held_out: int) -> None:
    films = split_films([film(number, str(number)) for number in range(n)], 0.05, 0)
    assert sum(one.split == "val" for one in films) == held_out


def test_too_few_films_are_told_how_many_are_needed() -> None:
    with pytest.raises(FilmsError, match=r"18 films .* at least 19 must .* 38 let"):
        split_films([film(number, str(number)) for number in range(18)], 0.05, 0)


def test_patients_are_fitted_on_or_held_out_whole() -> None:
    films = split_films([film(number, str(number // 4)) for number in range(80)], 0.05, 3)
    sides = {one.patient: {other.split for other in films if other.patient == one.patient} for one in films}
    assert all(len(side) == 1 for side in sides.values())
    assert {side for both in sides.values() for side in both} == {"train", "val"}


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
    site = read_site(tmp_path / "films", table, 0.05, 0)
    assert (len(site.films), site.repeats, site.patients, site.patients_known) == (20, 1, 10, True)
    assert set(site.groups) == {("view PA",)}
    assert read_site(tmp_path / "films", None, 0.05, 0).sha256 == site.sha256


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
        read_site(tmp_path / "films", write_table(tmp_path / "table.csv", rows), 0.05, 0)


def test_residual_energy_is_the_noises_and_not_the_anatomys() -> None:
    slope = torch.linspace(0, 1, 224).expand(1, 1, 224, 224)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 1, 224, 224))).float()
    assert residual_energy(slope)[0] == pytest.approx(0, abs=0.01)
    # A 3x3 mean leaves 8/9 of the variance; the median of |N(0, 1)| is 0.6745.
    energies = [residual_energy((0.5 * slope + 0.2 + levels / 255 * noise).clamp(0, 1))[0] for levels in (1, 4)]
    assert energies == pytest.approx([0.6745 * np.sqrt(8 / 9), 4 * 0.6745 * np.sqrt(8 / 9)], rel=0.03)


def unit_gate(threshold: float) -> Gate:
    return Gate(Gaussian(np.zeros(1), np.eye(1)), threshold)


def test_rates_before_and_after_are_counted_by_group() -> None:
    features = np.array([[0.0], [1.0], [2.0], [3.0]])
    # log density -0.92 - y^2/2: the strict gate keeps 0 and 1, the loose one 2 as well.
    strict, loose = unit_gate(-2.0), unit_gate(-4.0)
    row = false_rejection(strict, loose, features, people(4))
    assert (row["before"]["rejected"], row["after"]["rejected"], row["films"]) == (2, 1, 4)
    groups = [("view PA", "sex F"), ("view PA",), ("view AP",), ("view PA",)]
    rows = group_rows(strict, loose, features, people(4), groups, least=2)
    assert [(row["group"], row["before"]["rejected"], row["after"]["rejected"]) for row in rows] == [("view PA", 1, 1)]


def test_detection_that_falls_is_refused_and_that_of_hard_cases_is_told() -> None:
    clean, attacked = np.zeros((10, 1)), np.full((10, 1), 2.0)
    rows = detection_rows(unit_gate(-2.0), unit_gate(-4.0), clean, {"FGSM 0.02": attacked, "FGSM 1/255": attacked})
    assert [(row["before"]["detected"], row["after"]["detected"]) for row in rows] == [(10, 0), (10, 0)]
    assert all(row["after"]["auroc"] == 1.0 for row in rows)
    (reason,) = refusals([], rows, 0.02)
    assert "FGSM 0.02 would fall from 100.0% to 0.0%" in reason
    assert refusals([], rows, 1.0) == []


def recalibrate(folder: Path, *more: str | Path) -> int:
    common = ["--device", "cpu", "--workers", "0", "--attack-films", "2", "--most-detection-loss", "1"]
    arguments = ["--bundle", folder / "base", "--films", folder / "films", "--output", folder / "new", *common, *more]
    return main(["recalibrate", *map(str, arguments)])


def test_a_new_version_that_verifies_and_names_its_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = read_bundle(write_random_bundle(tmp_path / "base", -900.0))
    names = write_films(tmp_path / "films", 60)
    table = write_table(
        tmp_path / "table.csv",
        [{"file": name, "patient": name, "view": "PA" if n % 4 else "AP"} for n, name in enumerate(names)],
    )
    assert recalibrate(tmp_path, "--table", table, "--target", "0.1") == 0
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
    assert new.recalibration.n == 30
    assert "recalibrate" in new.recalibration.command
    # floor(0.1 * 31) = 3: the threshold is the third smallest of 30 scores, under which lie two.
    assert told["false_rejection"]["after"]["rejected"] == 2
    assert {row["group"] for row in told["groups"]} == {"view PA"}
    assert (tmp_path / "new-report" / "recalibration.png").read_bytes()[:4] == b"\x89PNG"
    assert new.gate.threshold == told["threshold"]["after"]
    assert "## Recalibrated for a site" in (tmp_path / "new" / "MODEL_CARD.md").read_text()
    assert new.model_version in capsys.readouterr().out
    # The version covers the recalibration: another base named in the manifest is an edit that shows.
    manifest = tmp_path / "new" / MANIFEST
    manifest.write_text(manifest.read_text().replace(new.recalibration.site_sha256, "0" * 64))
    assert cxr_gate(["check-bundle", str(tmp_path / "new"), "--device", "cpu"]) == 1


def test_films_that_stand_apart_are_refused_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_random_bundle(tmp_path / "base", -900.0)
    write_films(tmp_path / "films", 54)
    write_films(tmp_path / "films", 6, grain=12.0, seed=9)
    assert recalibrate(tmp_path) == REFUSED
    reason = capsys.readouterr().err
    assert "the films look attacked" in reason
    assert "9-" in reason
    assert not (tmp_path / "new").exists()
    told = json.loads((tmp_path / "new-report" / "recalibration.json").read_text())
    assert told["refusals"]


def test_a_wrong_call_is_no_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_random_bundle(tmp_path / "base", -900.0)
    write_films(tmp_path / "films", 5)
    assert recalibrate(tmp_path) == 1
    assert "5 films of the site are too few" in capsys.readouterr().err
