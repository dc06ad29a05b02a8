"""Rivals of the gate: each last stage against an oracle, all through the whole, and the page shows the committed report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from scipy.spatial.distance import cdist, pdist
from scipy.special import softmax

from research.frontier import rivals
from research.frontier.table import read_report
from tests.support.bundles import random_network, write_random_bundle

from .small import noise_films

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = np.random.default_rng(0)
MAPS = GENERATOR.random((2, 8, 7, 7), dtype=np.float32)


@pytest.mark.parametrize("watched", [False, True])
def test_rivals_are_measured_through_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    bundle, page, report = tmp_path / "bundle", tmp_path / "page.md", tmp_path / "reports" / "rivals.json"
    write_random_bundle(bundle, -1e15, watched=watched)
    films = noise_films(tmp_path, {"train": 5, "val": 4, "test": 1})
    page.write_text("<!-- rivals -->\n<!-- /rivals -->\n")
    monkeypatch.setattr(rivals, "read_films", lambda data: films)
    options = ["--data", str(tmp_path), "--bundle", str(bundle), "--films", "2", "--steps", "1", "--workers", "0"]
    assert rivals.main([*options, "--report", str(report), "--page", str(page)]) == 0
    (network,) = json.loads(report.read_text())["networks"]
    stages = [row["stage"] for row in network["rivals"]]
    assert stages[0] == rivals.OWN
    assert len(set(stages)) == 5
    for row in network["rivals"]:
        for goal in rivals.GOALS:
            assert 0 <= row[goal]["evaded"] <= row[goal]["eligible"] <= 2
        assert f"| bundle | {row['stage']} |" in page.read_text()


@pytest.mark.parametrize("watched", [False, True])
def test_a_rival_of_the_networks_own_stage_and_layer_is_the_network(watched: bool) -> None:
    network = random_network(0, watched)
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images)
        found = rivals.Rival(network, rivals.averaged, network.classifier)(images)
    torch.testing.assert_close(tuple(found), tuple(expected))


def test_context_is_a_mean_weighed_by_likeness() -> None:
    found = rivals.with_context(torch.from_numpy(MAPS)).numpy()
    for maps, row in zip(MAPS, found, strict=True):
        places = maps.reshape(8, 49).T
        weights = softmax(places @ places.T / np.sqrt(8), axis=1)
        expected = np.concatenate([places.mean(0), (weights @ places).mean(0)])
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_the_median_is_scipys() -> None:
    found = rivals.with_median(torch.from_numpy(MAPS)).numpy()
    expected = median_filter(MAPS, (1, 1, 3, 3), mode="nearest")
    np.testing.assert_allclose(found, np.concatenate([MAPS.mean((2, 3)), expected.mean((2, 3))], 1), rtol=1e-5)


def test_radial_basis_functions_are_near_where_films_are_and_nothing_far_off() -> None:
    centres = GENERATOR.random((6, 8), dtype=np.float32)
    basis = rivals.RadialBasis(torch.from_numpy(centres))
    features = MAPS.mean((2, 3))
    expected = np.exp(-0.5 * (cdist(features, centres) / np.median(pdist(centres))) ** 2)
    # torch takes the lower of two middle distances: fifteen have one middle.
    np.testing.assert_allclose(basis(torch.from_numpy(MAPS)).numpy(), expected, rtol=1e-5)
    at_centre = basis(torch.from_numpy(centres[2:3, :, None, None]))
    assert at_centre[0, 2] == 1
    assert float(basis(torch.full((1, 8, 7, 7), 1e3)).max()) == 0


def test_the_page_shows_the_committed_report() -> None:
    page = (ROOT / "research" / "README.md").read_text()
    assert page == rivals.filled(page, read_report(ROOT, rivals.REPORT))
