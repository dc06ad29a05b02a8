"""Accuracy, movement, band and calls of a network whose movement is known, and the frontier's command through the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from app.pipeline import LABELS
from app.pipeline.outputs import Outputs
from offline.calls import fitting, movement
from offline.calls.movement import EPSILON, Movement
from offline.data.films import Film, evenly, of_split, targets_of
from offline.data.loading import load_film
from offline.report.plot_style import LIGHT
from offline.run import Run
from offline.training.harden import HARDENED
from research.frontier import __main__ as making
from research.frontier import bands, table
from research.frontier.band_plot import draw, turned

from .attacks.toys import LinearVictim
from .small import noise_films, random_run
from .test_goals_on_calls import called_rows

CPU = torch.device("cpu")


class Tiny(nn.Module):
    """A network small enough to run the whole on: one convolution of 8x8 patches."""

    feature_count, gate_feature_count, watch = 6, 6, None

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolution, self.classifier = nn.Conv2d(1, 6, 8, 8), nn.Linear(6, len(LABELS))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Outputs[Tensor]:
        features = torch.tanh(self.convolution(images)).mean((2, 3))
        return Outputs(features, features, self.classifier(features))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    return noise_films(tmp_path_factory.mktemp("films"), {"train": 8, "val": 100, "test": 20})


def linear() -> LinearVictim:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn((len(LABELS), 224, 224), generator=generator) / 300
    return LinearVictim(torch.zeros(1, 224, 224), weights, torch.zeros(len(LABELS)))


def logits_of(network: nn.Module, films: list[Film]) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        logits: Tensor = network(torch.stack([load_film(film.path) for film in films])).logits
    return logits.numpy()


def test_a_linear_network_is_moved_as_far_as_can_be_and_asks_for_that_band(
    tmp_path: Path, films: list[Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, val, test = linear(), of_split(films, "val"), of_split(films, "test")
    logits = {"val": logits_of(network, val), "test": logits_of(network, test)}
    findings, record = bands.called(network, Run(tmp_path), films, logits, CPU, 3, 0)  # type: ignore[arg-type]

    levels = np.stack([load_film(val[place].path).numpy() for place in evenly(len(val), 3)]) * 255
    weights = network.logits.detach().numpy()
    deviations = logits["val"].std(0, dtype=np.float64)
    for row, step in zip(record["movement"], (1, 2), strict=True):
        up, down = (np.minimum(step, room) / 255 for room in (255 - levels, levels))  # no pixel leaves [0, 1]
        each = [
            np.maximum(
                (np.maximum(one, 0) * up - np.minimum(one, 0) * down).sum((1, 2, 3)),
                (np.maximum(one, 0) * down - np.minimum(one, 0) * up).sum((1, 2, 3)),
            ).max()
            for one in weights[:, None, None]
        ]
        np.testing.assert_allclose(row["logits"], each, rtol=1e-3)
        np.testing.assert_allclose(row["deviations"], each / deviations, rtol=1e-3)
        assert row["epsilon"] == pytest.approx(step / 255)
    assert record["band"]["mean"] == pytest.approx(np.mean(record["movement"][1]["deviations"]))
    assert record["band"]["finding"] == LABELS[int(np.argmax(record["movement"][1]["deviations"]))]

    inside = []
    for column, finding in enumerate(findings):
        if finding.present_from is not None and finding.absent_below is not None:
            high, low = (
                (logit(p) - finding.intercept) / finding.slope for p in (finding.present_from, finding.absent_below)
            )
            assert high - low == pytest.approx(record["movement"][1]["logits"][column], rel=1e-6)
            inside.append((low <= logits["test"][:, column]) & (logits["test"][:, column] < high))
    assert len(inside) == record["findings_called"] > 0
    assert record["indeterminate"] == pytest.approx(np.mean(inside))

    def forbidden(*_: object) -> None:
        raise AssertionError("moved again")

    monkeypatch.setattr(movement, "_furthest", forbidden)
    assert bands.called(network, Run(tmp_path), films, logits, CPU, 3, 0)[1] == record  # type: ignore[arg-type]


def test_what_calibrate_measured_is_not_measured_again(
    tmp_path: Path, films: list[Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, list[float]] = {}

    def measured(
        network: nn.Module, images: Tensor, device: torch.device, folder: Path, epsilon: float = EPSILON, *_: int
    ) -> Movement:
        kept.setdefault(folder.name, []).append(epsilon)
        return Movement(np.ones((3, len(LABELS))), np.ones(len(LABELS)))

    for module in (bands, fitting):
        monkeypatch.setattr(module, "measure_movement", measured)
    run, val = random_run(tmp_path / "run", 1), of_split(films, "val")
    fitting._movement(run, films, val, CPU, 3)
    assert list(kept.values()) == [[EPSILON]]
    logits = {"val": np.random.default_rng(0).normal(size=(100, len(LABELS))), "test": np.zeros((20, len(LABELS)))}
    bands.called(run.network(), run, films, logits, CPU, 3)  # type: ignore[arg-type]
    assert sorted(kept.values()) == [[pytest.approx(1 / 255)], [EPSILON, EPSILON]]


def test_the_loss_is_of_the_same_films(films: list[Film]) -> None:
    val, generator = of_split(films, "val"), np.random.default_rng(0)
    targets = targets_of(val)
    trained = generator.normal(size=targets.shape) + targets
    served = trained + generator.normal(size=targets.shape)
    lost = bands.paired_loss(val, trained, served)
    one, other = (roc_auc_score(targets, scores, average="macro") for scores in (trained, served))
    assert lost["value"] == pytest.approx(one - other)
    assert 0 < lost["low"] < lost["value"] < lost["high"]
    assert bands.paired_loss(val, trained, trained) == {"value": 0, "low": 0, "high": 0}


def test_the_command_measures_a_tiny_network_and_goes_on_where_it_was(
    tmp_path: Path, films: list[Film], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Run(tmp_path / "runs" / "start")
    start.folder.mkdir(parents=True)
    start.training.write({"initial_weights": HARDENED + "nothing", "history": []})
    monkeypatch.setattr(making, "read_films", lambda _: films)
    monkeypatch.setattr(Run, "network", lambda _: Tiny())
    monkeypatch.setattr(making, "_network_run", lambda *_: start)
    page = tmp_path / "page.md"
    names = ("aimed", "blind", "cost", "bands")
    page.write_text("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names))
    command = ["--data", "films", "--quick", "--runs", str(tmp_path / "runs"), "--only", "paper", "--workers", "0"]
    assert making.main([*command, "--page", str(page)]) == 0
    report = json.loads((tmp_path / "runs" / "frontier.json").read_text())
    point = report["points"]["paper"]
    assert point["trained"] == point["auroc"]
    assert point["lost"]["test"] == {"value": 0, "low": 0, "high": 0}
    assert {row["goal"] for row in point["aimed"]} == {"hide", "invent", "absent-to-present", "present-to-absent"}
    assert {row["attacker"] for row in point["aimed"]} == {"minimal", "selective"}
    assert table.bands(report) in page.read_text()
    assert table.bands(report) in capsys.readouterr().out
    assert (tmp_path / "runs" / "bands.png").read_bytes().startswith(b"\x89PNG")

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(movement, "_furthest", forbidden)
    monkeypatch.setattr("research.frontier.point.attack_all", forbidden)
    monkeypatch.setattr("offline.evaluation.adaptive.epsilon_curve", forbidden)
    assert making.main(command) == 0
    again = json.loads((tmp_path / "runs" / "frontier.json").read_text())["points"]["paper"]
    assert again == point


def with_calls(report: dict[str, Any]) -> dict[str, Any]:
    point = report["points"]["paper"]
    point["aimed"] += called_rows(0.1)
    point["trained"], point["auroc"] = {"val": 0.8, "test": 0.79}, {"val": 0.77, "test": 0.7712}
    point["lost"] = {split: {"value": 0.02, "low": -0.004, "high": 0.031} for split in ("val", "test")}
    point["calls"] = {
        "movement": [
            {"epsilon": step / 255, "films": 80, "logits": [], "deviations": [], "mean": step / 8} for step in (1, 2)
        ],
        "band": {"mean": 0.25, "widest": 0.5, "finding": "Hernia"},
        "findings_called": 13,
        "false_calls_on_a_film_without_findings": 0.3,
        "films_without_findings_with_a_call": 0.204,
        "indeterminate": 0.118,
    }
    return report


def test_the_table_shows_accuracy_band_and_calls_of_what_was_measured() -> None:
    assert "|" not in table.bands({"points": {}})
    heading, rule, *rows = table.bands(with_calls(table.read_report())).splitlines()
    (row,) = rows  # of the others no calls were measured
    assert heading.count("|") == rule.count("|") == row.count("|")
    cells = [cell.strip() for cell in row.split("|")][1:-1]
    assert cells[1:9] == [
        "0.790; 0.771",
        "0.020 (-0.004 to 0.031); 0.020 (-0.004 to 0.031)",
        "0.12",
        "0.25",
        "0.50 (Hernia)",
        "13",
        "12%",
        "0.30; 20%",
    ]
    assert cells[9:] == ["10% (2 of 20); 10% (2 of 20)"] * 4


def test_the_picture_marks_what_was_measured_hollow_where_no_call_could_be_turned() -> None:
    report = with_calls(table.read_report())
    point = report["points"]["paper"]
    assert turned(point, 1 / 255) == pytest.approx(0.1)
    filled = draw(report, LIGHT).axes[0].lines
    assert [tuple(np.asarray(line.get_xydata())[0]) for line in filled] == [(0.7712, 0.25)]
    assert np.size(filled[0].get_markerfacecolor()) == 4
    for row in point["aimed"]:
        row["eligible"] = row["evaded"] = 0
    assert turned(point, 1 / 255) is None
    assert draw(report, LIGHT).axes[0].lines[0].get_markerfacecolor() == "none"
