"""Films altered by hand: each is altered where it should be, as it should be, and the same way each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from offline.attacks.tampering import LUNGS, TAMPERINGS, copy_move, draw, erase, hard_splice, splice
from offline.cli import main
from offline.data.films import Film, FilmsError
from offline.evaluation.tamper import REPORT, tamper
from research.threat_model import tampering
from tests.offline.small import noise_films
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle

ROWS, COLUMNS = 200, 160


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("accepting") / "bundle", ACCEPT_EVERYTHING)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return noise_films(tmp_path_factory.mktemp("films"), {"test": 4})


def film(seed: int) -> np.ndarray:
    """Smooth, with grain, in [0.2, 0.8]."""
    generator = np.random.default_rng(seed)
    smooth = gaussian_filter(generator.normal(size=(ROWS, COLUMNS)), 20)
    grain = generator.normal(0, 0.005, (ROWS, COLUMNS))
    return np.clip(0.5 + 0.2 * smooth / np.abs(smooth).max() + grain, 0.2, 0.8).astype(np.float32)


def lungs() -> np.ndarray:
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.any(
        [
            ((rows - row * ROWS) / (high * ROWS)) ** 2 + ((columns - column * COLUMNS) / (wide * COLUMNS)) ** 2 <= 1
            for row, column, high, wide in LUNGS
        ],
        axis=0,
    )


@pytest.mark.parametrize("name", TAMPERINGS)
def test_it_is_a_film_changed_in_a_place_and_the_same_for_the_same_seed(name: str) -> None:
    one, other = film(1), film(2)
    made = TAMPERINGS[name](one, other, np.random.default_rng(3))
    assert made.dtype == np.float32
    assert made.shape == one.shape
    assert made.min() >= 0
    assert made.max() <= 1
    np.testing.assert_array_equal(made, TAMPERINGS[name](one, other, np.random.default_rng(3)))
    np.testing.assert_array_equal(one, film(1))  # the film that was given is left as it is
    changed = made != one
    assert 0.001 < changed.mean() < 0.6
    far = ~lungs() & ~(gaussian_filter(lungs().astype(float), 8) > 0.01)
    assert not (np.abs(made - one)[far] > 0.01).any()  # a shadow that was drawn falls to nothing, and is nowhere else


def test_a_hard_splice_is_the_other_film_with_this_ones_greys_within_and_nothing_without() -> None:
    one, other = film(1), film(2)
    made, inside = hard_splice(one, other, np.random.default_rng(0)), lungs()
    np.testing.assert_array_equal(made[~inside], one[~inside])
    assert np.corrcoef(made[inside], other[inside])[0, 1] > 0.999
    assert made[inside].mean() == pytest.approx(one[inside].mean(), abs=0.01)
    assert made[inside].std() == pytest.approx(one[inside].std(), abs=0.01)


def test_a_soft_splice_has_no_edge() -> None:
    """Between films of two flat greys the step from one to the other is spread over several pixels."""
    one = np.full((ROWS, COLUMNS), 0.3, np.float32)
    one[:, ::2] = 0.5  # so that there is a spread to match
    other = one[:, ::-1].copy()
    hard, soft = (make(one, other, np.random.default_rng(0)) for make in (hard_splice, splice))
    steps = [len(np.unique(np.abs(each - one).round(2))) for each in (hard, soft)]
    assert steps[0] <= 3  # nothing, all of it, and half on the very edge
    assert steps[1] > 10


def test_a_splice_of_another_size_fits() -> None:
    made = splice(film(1), film(2)[::2, ::3], np.random.default_rng(0))
    assert made.shape == (ROWS, COLUMNS)


def test_what_is_copied_is_the_other_side() -> None:
    one = film(1)
    mirrored = (one + one[:, ::-1]) / 2  # a film that is its own mirror image
    assert np.abs(copy_move(mirrored, one, np.random.default_rng(0)) - mirrored).max() < 1e-4
    made = copy_move(one, one, np.random.default_rng(0))
    changed = np.abs(made - one) > 1e-3
    before, after = (np.corrcoef(each[changed], one[:, ::-1][changed])[0, 1] for each in (one, made))
    assert after > max(0.7, before + 0.3)


def test_an_erased_shadow_is_gone_and_a_ramp_stays_a_ramp() -> None:
    """The heat equation's solution on a hole in a ramp is the ramp."""
    ramp = np.repeat(np.linspace(0.2, 0.8, ROWS, dtype=np.float32)[:, None], COLUMNS, axis=1)
    place = erase(film(1), film(2), np.random.default_rng(5)) != film(1)
    with_shadow = ramp.copy()
    with_shadow[place & lungs()] += 0.1
    made = erase(with_shadow, film(2), np.random.default_rng(5))
    inner = gaussian_filter(place.astype(float), 3) > 0.97
    assert inner.any()
    assert np.abs(with_shadow - ramp)[inner].max() > 0.09
    assert np.abs(gaussian_filter(made, 3) - ramp)[inner].max() < 0.04


def test_a_shadow_that_is_drawn_is_round_and_as_bright_as_said() -> None:
    flat = np.full((ROWS, COLUMNS), 0.5, np.float32)
    added = draw(flat, flat, np.random.default_rng(1)) - flat
    assert 0.11 < added.max() <= 0.25
    row, column = np.unravel_index(added.argmax(), added.shape)
    for step in range(1, 4):
        assert added[row + step, column] == pytest.approx(added[row, column + step], rel=0.2)


def test_it_is_judged_as_served_and_reported(bundle: Path, films: list[Film], tmp_path: Path) -> None:
    report = tamper(bundle, films, tmp_path, torch.device("cpu"), count=3)
    assert json.loads((tmp_path / REPORT).read_text()) == report
    assert [row["tampering"] for row in report["rows"]] == ["none", *TAMPERINGS]
    clean = report["rows"][0]
    assert clean["grey_change"] == clean["calls"]["changed_films"] == 0
    for row in report["rows"]:
        assert row["accepted"] + row["rejected"] + row["unsuitable"] == row["films"] == 3
    assert all(row["grey_change"] > 0 for row in report["rows"][1:])
    assert tampering(report).count("\n") == 7


def test_films_of_one_patient_have_no_others(bundle: Path, films: list[Film], tmp_path: Path) -> None:
    alone = [film for film in films if film.split == "test"][:1]
    with pytest.raises(FilmsError, match="two patients"):
        tamper(bundle, alone, tmp_path, torch.device("cpu"))


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tamper", "--data", str(tmp_path)]) == 1
    assert "labels.csv" in capsys.readouterr().err
