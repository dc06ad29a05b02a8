"""Looks that were dropped: each is measured through the whole, knows what it should, and the page shows the committed report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from app.pipeline.labels import LABELS
from app.pipeline.network import ChestNetwork
from offline.data.harmless import flip, jpeg
from offline.evaluation.presets import Aim
from research.frontier import alternative_detectors
from research.frontier.table import read_report
from tests.support.bundles import random_network, write_random_bundle

from .small import noise_films

ROOT = Path(__file__).resolve().parents[2]
PLACES = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("looks", "smoothing"))


def test_looks_are_measured_through_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, page, report = (
        tmp_path / "bundle",
        tmp_path / "page.md",
        tmp_path / "reports" / "alternative_detectors.json",
    )
    write_random_bundle(bundle, -1e9, watched=True)
    films = noise_films(tmp_path, {"train": 5, "val": 4, "test": 1})
    page.write_text(PLACES)
    monkeypatch.setattr(alternative_detectors, "AIM", Aim((1 / 255,), 1, 1, 1))
    monkeypatch.setattr(alternative_detectors, "SMOOTHING", (0.1,))
    monkeypatch.setattr(alternative_detectors, "VIEWS", {"mirror": flip})
    monkeypatch.setattr(alternative_detectors, "read_films", lambda data: films)
    options = ["--data", str(tmp_path), "--bundle", str(bundle), "--films", "2", "--keys", "1", "--workers", "0"]
    assert alternative_detectors.main([*options, "--report", str(report), "--page", str(page)]) == 0
    found = json.loads(report.read_text())
    assert set(found["looks"]) == {
        "the gate that is served",
        "view: mirror",
        "key 1: drawn convolutions",
        "key 1: a secret crop, and the watch",
    }
    assert set(found["smoothing"]) == {"0.0", "0.1"}
    for name in found["looks"]:
        assert f"| {name} |" in page.read_text()


def test_what_is_refused_is_counted_where_one_in_twenty_clean_films_is() -> None:
    clean = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    attacked = np.array([97, 98, 10, 99], dtype=np.uint8).reshape(4, 1, 1, 1)
    found = alternative_detectors.seen(
        lambda levels: levels[:, 0, 0, 0].astype(float), clean, {"some": attacked, "none": attacked[:0]}
    )
    assert found["some"]["refused"] == 0.75
    assert found["some"]["auroc"] == pytest.approx((97.5 + 98.5 + 10.5 + 99.5) / 400)
    assert found["none"] == {"auroc": None, "refused": None}


def test_a_view_sees_only_what_it_changes() -> None:
    network = random_network(0)
    levels = np.random.default_rng(0).integers(0, 256, (2, 1, 224, 224), dtype=np.uint8)
    levels[1] = 128  # what JPEG leaves as it is
    score = alternative_detectors.seen_by_view(
        alternative_detectors.Logits(network, torch.device("cpu")), jpeg(75), np.ones(len(LABELS))
    )(levels)
    assert score[0] > 0
    assert score[1] == pytest.approx(0, abs=1e-5)


def test_drawn_eyes_are_the_same_for_a_key_and_see_no_constant() -> None:
    film = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    one, same, other = (alternative_detectors.DrawnEyes(key)(film) for key in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    inside = torch.nn.functional.conv2d(torch.full((1, 1, 9, 9), 0.7), alternative_detectors.DrawnEyes(1).first)
    torch.testing.assert_close(inside, torch.zeros_like(inside), atol=1e-5, rtol=0)


def test_a_secret_crop_sees_its_part_alone() -> None:
    crop = alternative_detectors.SecretCrop(3, random_network(0, watched=True)).eval()
    film = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    outside, inside = film.clone(), film.clone()
    outside[:, :, : crop.row], outside[:, :, crop.row + crop.side :] = 0, 0
    outside[..., : crop.column], outside[..., crop.column + crop.side :] = 0, 0
    inside[:, :, crop.row + 5, crop.column + 5] += 0.5
    assert not torch.equal(outside, film)
    with torch.inference_mode():
        seen = crop(film)
        assert torch.equal(crop(outside), seen)
        assert not torch.equal(crop(inside), seen)


def test_a_secret_crop_needs_a_watch() -> None:
    with pytest.raises(ValueError, match="watch"):
        alternative_detectors.SecretCrop(1, ChestNetwork(len(LABELS)))


def test_the_page_shows_the_committed_report() -> None:
    page = (ROOT / "research" / "README.md").read_text()
    assert page == alternative_detectors.filled(page, read_report(ROOT, alternative_detectors.REPORT))
