"""Goals on calls, from a run's record to the tables: measured where there are points, and shown where they were measured."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.pipeline import LABELS
from app.pipeline.gate import Gate
from app.pipeline.manifest import Aimed, Finding
from offline.attacks import CallPoints, Victim, as_posted
from offline.attacks.goals import AT_POINT, EVERY_CALL, OPPOSITE, Wanted
from offline.bundles.export import _measured
from offline.bundles.measured import BundleReport
from offline.bundles.model_card import aimed_table
from offline.data.films import of_split
from offline.data.loading import load_film
from offline.evaluation.adaptive import AIMED, STEEPEST, aimed_rows
from offline.evaluation.presets import PRESETS, Aim
from offline.gate.fit import FitOptions
from offline.report import plots, sentences
from offline.report.plot_style import LIGHT
from offline.report.reading import AimedRow, goal_in_words, read
from offline.report.summary import headlines, verdict
from offline.report.tables import write_tables
from offline.run import Run
from research import readme, threat_model
from research.frontier import table as frontier
from tests.support.bundles import manifest_fields

from .attacks.toys import LinearVictim, gaussian
from .report_material import aware, evaluation
from .small import noise_films

CPU = torch.device("cpu")


def called_rows(share: float, wanted: tuple[Wanted, ...] = EVERY_CALL) -> list[dict[str, Any]]:
    return [
        {**aware(name, informed, goal, epsilon, 224, share), "finding_choice": choice}
        for name, informed in (("minimal", False), ("selective", True))
        for goal, choice in wanted
        for epsilon in (1 / 255, 2 / 255)
    ]


def at_point_rows() -> list[dict[str, Any]]:
    return called_rows(0.9, AT_POINT)


def test_points_are_logits_and_what_is_not_called_has_none() -> None:
    fields = manifest_fields(0.0)["findings"]
    fields[3] |= {"present_from": None, "absent_below": None, "slope": 2.0}
    calls = CallPoints.of([Finding.model_validate(one) for one in fields])
    assert calls.present_from.isnan().tolist() == [index == 3 for index in range(len(LABELS))]
    assert calls.present_from[0] == pytest.approx(torch.logit(torch.tensor(0.6)))
    assert calls.slope[3] == 2


def test_a_run_is_attacked_for_its_calls_where_it_has_them(tmp_path: Path) -> None:
    films = noise_films(tmp_path, {"train": 1, "test": 3})
    generator = torch.Generator().manual_seed(0)
    network = LinearVictim(
        torch.zeros(1, 224, 224), torch.randn((3, 224, 224), generator=generator) / 100, torch.zeros(3)
    )
    gate = Gate(gaussian(torch.zeros(1), torch.eye(1)), -1e9)
    bare = Victim.of(network, gate, torch.full((3,), 0.5))

    def measured(victim: Victim) -> set[tuple[str, str, str]]:
        rows = aimed_rows(Run(tmp_path), victim, FitOptions(), films, CPU, 2, Aim((1 / 255,), 2, 1, 1))
        return {(row["attacker"], row["goal"], row["finding_choice"]) for row in rows}

    at_point = {(name, *wanted) for name in AIMED for wanted in AT_POINT}
    assert measured(bare) == at_point
    (kept,) = tmp_path.glob("aimed-*")
    stages = {path.name: path.stat().st_mtime_ns for path in kept.iterdir() if path.name != "identity.json"}
    for width in (0.1, 0.2):  # other points are other attacks; hide and invent know nothing of them
        ones = torch.ones(3, dtype=torch.float64)
        calls = CallPoints(ones, ones - width, ones, 0 * ones)
        assert measured(replace(bare, calls=calls)) == at_point | {(name, *one) for name in AIMED for one in OPPOSITE}
    assert len(list(tmp_path.glob("aimed-*"))) == 3
    assert stages == {path.name: path.stat().st_mtime_ns for path in kept.iterdir() if path.name != "identity.json"}


def test_the_steepest_attacker_reaches_what_can_be_reached_and_no_more(tmp_path: Path) -> None:
    """Of a linear network the furthest that a logit moves within an L-infinity ball is epsilon times the sum of its weights."""
    films = noise_films(tmp_path, {"train": 1, "test": 4})
    weights = torch.randn((1, 224, 224), generator=torch.Generator().manual_seed(0)) / 100
    network = LinearVictim(torch.zeros(1, 224, 224), weights, torch.zeros(1))
    bare = Victim.of(network, Gate(gaussian(torch.zeros(1), torch.eye(1)), -1e9), torch.full((1,), 0.5))
    logits = network(as_posted(torch.stack([load_film(film.path) for film in of_split(films, "test")]))).logits.detach()
    reach = 2 / 255 * float(weights.abs().sum())
    one = torch.ones(1, dtype=torch.float64)
    absent_below = (float(logits.max()) + 1e-3) * one
    for present_from, reached in ((logits.min() + 0.9 * reach, 4), (logits.max() + 1.1 * reach, 0)):
        assert present_from > absent_below
        victim = replace(bare, calls=CallPoints(float(present_from) * one, absent_below, one, 0 * one))
        rows = aimed_rows(Run(tmp_path), victim, FitOptions(), films, CPU, 4, names=(STEEPEST,), goals=OPPOSITE[:1])
        assert [row["goal_reached"] for row in rows if row["epsilon"] == 2 / 255] == [reached]
        assert {row["films"] for row in rows} == {row["eligible"] for row in rows} == {4}


def test_a_quick_experiment_tries_opposites_alone() -> None:
    assert PRESETS["quick"].calls == OPPOSITE
    assert {PRESETS[name].calls for name in ("short", "standard", "paper")} == {EVERY_CALL}


def test_the_manifest_carries_the_goals() -> None:
    report: dict[str, Any] = {
        **dict.fromkeys(("mean_auroc", "false_rejection_rate"), 0.5),
        **dict.fromkeys(("mean_auroc_interval", "false_rejection_rate_interval"), (0.1, 0.9)),
        **dict.fromkeys(("test_n", "test_patients", "false_rejections"), 24),
        **{name: {} for name in ("attacks", "auroc", "false_rejection_rate_by_group")},
        "aimed": [*at_point_rows(), *called_rows(0.1)],
    }
    for row in report["aimed"][:2]:
        del row["finding_choice"]  # as a report has it that was made before
    measured = _measured(BundleReport.model_validate(report))
    assert measured is not None
    rows = [Aimed.model_validate(row) for row in measured["aimed"]]
    assert [(row.goal, row.finding_choice) for row in rows] == [
        wanted for _ in range(2) for wanted in AT_POINT for _ in range(2)
    ] + [wanted for _ in range(2) for wanted in EVERY_CALL for _ in range(2)]


def test_a_model_card_has_columns_for_what_was_measured() -> None:
    old = aimed_table(read({"aware": at_point_rows()}).aware).splitlines()
    assert old[0].endswith("| largest change of a pixel | to hide a finding: passed | to invent one: passed |")
    assert old[2] == "| minimal | no | 1/255 | 90% (18 of 20; 0.314) | 90% (18 of 20; 0.314) |"
    both = aimed_table(read({"aware": [*at_point_rows(), *called_rows(0.1, OPPOSITE)]}).aware).splitlines()
    assert "| to turn absent into present: passed | to turn present into absent: passed | to hide" in both[0]
    assert both[2].startswith("| minimal | no | 1/255 | 10% (2 of 20; 0.314) | 10% (2 of 20; 0.314) | 90%")
    assert {line.count("|") for line in both} == {8}


def test_the_readmes_table_has_columns_for_what_was_measured(tmp_path: Path) -> None:
    transfer = [{"epsilon": 0.02, "films": 10, "passed": 1}]
    outsider = {"arch": "resnet50", "learned_from": "answers", "transfer": transfer}
    rows = [*at_point_rows(), *called_rows(0.1)]
    for measured, columns in ((at_point_rows(), 2), (rows, 4)):
        (tmp_path / "evaluation.json").write_text(json.dumps({"aware": measured, "substitutes": [outsider]}))
        lines = readme.attackers(tmp_path).splitlines()
        assert {line.count("|") for line in lines} == {4 + columns}
    assert lines[2] == "| minimal | no | 1/255 " + "| 10.0% (2 of 20) " * 2 + "| 90.0% (18 of 20) " * 2 + "|"


def test_the_threat_models_tables_take_a_paper_without_calls() -> None:
    assert "| selective, 224 pixels | yes | 2/255 | present-to-absent, nearest finding | 10.0% (2 of 20) | 0.27 |" in (
        threat_model.aimed(read({"aware": called_rows(0.1)}).aware)
    )
    lines = threat_model.insiders(
        read({"aware": [*at_point_rows(), *called_rows(0.1)]}), read({"aware": at_point_rows()})
    ).splitlines()
    assert {line.count("|") for line in lines} == {9}
    assert sum("not measured" in line for line in lines) == len(called_rows(0.1))
    nobody = {**called_rows(0.1)[0], "eligible": 0, "evaded": 0, "grey_change": None}
    assert "| n/a |" in threat_model.aimed([AimedRow.model_validate(nobody)])


def test_the_frontiers_table_of_one_point_leaves_calls_out() -> None:
    report = frontier.read_report()
    before = frontier.aimed(report)
    name = frontier.points(report)[-1][0]
    report["points"][name]["aimed"] += called_rows(0.1, OPPOSITE)
    assert frontier.aimed(report) == before


def test_a_report_concludes_from_calls_turned() -> None:
    made = evaluation()
    assert verdict(read(made)).endswith("No, if the attacker knows the gate.")
    turned = called_rows(0.0, OPPOSITE)
    made["aware"] = [*made["aware"], *called_rows(1.0, EVERY_CALL[-2:]), *turned]  # any change of a call is easy
    assert verdict(read(made)).endswith("Mostly yes, if the attacker knows the gate.")
    said = " ".join(sentences(made))
    assert "turns a call from absent to present in 0.0%" in said
    assert "changes a call at all in 100.0%" in said
    assert "invents a finding that is not there in" in said
    (card,) = (card for card in headlines(read(made)) if card.title.startswith("Attackers who know"))
    assert (card.value, card.bad) == ("0.0%", False)
    assert "absent-to-present, nearest finding" in card.note


def test_a_row_of_calls_is_not_mixed_with_another(tmp_path: Path) -> None:
    write_tables(read({"aware": [*evaluation()["aware"][:1], *called_rows(0.1)]}), tmp_path)
    with (tmp_path / "aware.csv").open(newline="") as file:
        assert {row["finding_choice"] for row in csv.DictReader(file)} == {"", "nearest", "random"}
    assert goal_in_words("hide", "furthest") == AimedRow(goal="hide").wanted == "hide"
    figure = plots.attackers(read({"aware": [*called_rows(0.1), *at_point_rows()]}), LIGHT)
    assert figure is not None
    titles = [axes.get_title().removesuffix(", posted at 224 pixels") for axes in figure.axes if axes.get_visible()]
    assert titles == [
        *(f"{goal}, {choice} finding" for goal, choice in EVERY_CALL),
        "hide",
        "invent",
    ]
