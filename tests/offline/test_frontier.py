"""The frontier: a defence is measured through the whole, resumed without work, and the page shows the committed report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from app.pipeline import LABELS, ChestNetwork
from offline.evaluation.adaptive import AIMED
from offline.evaluation.presets import Aim
from offline.gate.fit import FitOptions
from offline.report.plot_style import LIGHT
from offline.run import Run
from offline.training.harden import HardenOptions
from research.frontier import __main__ as making
from research.frontier import point as measuring
from research.frontier.plot import draw
from research.frontier.point import Measuring, measure_point
from research.frontier.recipes import RECIPES, Recipe
from research.frontier.table import REPORT, filled, read_report

from .small import noise_films, random_run

ROOT = Path(__file__).resolve().parents[2]
SMALL = Measuring(
    attacked_films=2,
    aimed_films=2,
    attack_steps=1,
    apgd_steps=2,
    square_queries=2,
    aim=Aim((1 / 255,), 2, 1, 1),
    movement_films=0,  # test_bands has it, on a network that is small
)


def test_a_defence_is_measured_and_what_is_there_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    films = noise_films(tmp_path, {"train": 6, "val": 19, "test": 3})
    run = Run(tmp_path / "run")
    run.save_weights(ChestNetwork(len(LABELS)).state_dict())
    network, options = run.network(), FitOptions(variants=1)

    def measured() -> dict[str, object]:
        return measure_point("small", network, run, films, options, SMALL, torch.device("cpu"), 0)

    first = measured()
    assert [row["change"] for row in first["harmless"]] == list(measuring.HARMLESS)  # type: ignore[attr-defined]
    assert {row["attack"] for row in first["blind"]} == {"FGSM", "BIM", "PGD", "MIM", "APGD", "Square"}  # type: ignore[attr-defined]
    for row in first["blind"]:  # type: ignore[attr-defined]
        assert row["films"] == 2
        assert max(row["rejected"], 2 - row["changed"]) <= row["stopped"] <= row["rejected"] + 2 - row["changed"]
    assert {(row["attacker"], row["goal"]) for row in first["aimed"]} == {  # type: ignore[attr-defined]
        (attacker, goal) for attacker in AIMED for goal in ("hide", "invent")
    }

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    for part in ("attack_all", "unseat", "harmless_stage"):
        monkeypatch.setattr(measuring, part, forbidden)
    assert json.loads(json.dumps(measured())) == json.loads(json.dumps(first))


@pytest.mark.parametrize("share", [0.5, 1.0, 1.5])
def test_a_defence_short_of_what_was_hardened_last_and_beyond_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    start, hardened = random_run(tmp_path / "start", 1), random_run(tmp_path / "elsewhere", 2)
    monkeypatch.setattr(
        making, "harden", lambda before, films, run, options, device: shutil.copytree(hardened.folder, run.folder)
    )
    recipe = Recipe("", (HardenOptions(epsilon=0.5),), FitOptions(), share=share)
    run = making._network_run(recipe, tmp_path / "no bundle", tmp_path, [], torch.device("cpu"), 0)
    one, other, made = (folder.network().classifier.weight for folder in (start, hardened, run))
    torch.testing.assert_close(made, (1 - share) * one + share * other)


def test_the_page_shows_the_committed_report() -> None:
    page = (ROOT / "research" / "README.md").read_text()
    assert page == filled(page, read_report(ROOT))


def test_every_defence_of_the_report_has_a_recipe() -> None:
    points = read_report(ROOT)["points"]
    assert set(points) <= set(RECIPES)
    assert all(point["title"] == RECIPES[name].title for name, point in points.items())
    assert (ROOT / REPORT).is_file()


def test_the_picture_shows_hiding_and_inventing_together() -> None:
    report = read_report(ROOT)
    figure = draw(report, LIGHT)
    point = report["points"]["paper"]
    rows = [row for row in point["aimed"] if row["attacker"] == "selective" and row["epsilon"] < 1.5 / 255]
    share = sum(row["evaded"] for row in rows) / sum(row["eligible"] for row in rows)
    marks = {tuple(np.asarray(line.get_xydata())[0]) for line in figure.axes[0].lines}
    assert len(marks) == 2 * len(report["points"])
    assert any(abs(x - point["auroc"]["test"]) < 0.001 and y == pytest.approx(share) for x, y in marks)
