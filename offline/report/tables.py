"""The evaluation's tables as CSV: a row for each measurement, empty where it was not made."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .reading import Rate, Tree, at, branch, mean_of, number, rate, rows
from .table1 import cells

Row = Sequence[Any]
ESTIMATE = ("value", "low", "high")


def write_tables(evaluation: Tree, folder: Path) -> None:
    """detectors, substitutes, aware, harmless, orientation, groups, learning_curve and table1, each .csv with a heading."""
    _write(folder / "table1.csv", *_table1(evaluation))
    _write(folder / "detectors.csv", *_detectors(evaluation))
    _write(folder / "substitutes.csv", *_substitutes(evaluation))
    _write(folder / "aware.csv", *_aware(evaluation))
    _write(folder / "harmless.csv", *_refusals(evaluation, "harmless", "change"))
    _write(folder / "orientation.csv", *_orientation(evaluation))
    _write(folder / "groups.csv", *_refusals(evaluation, "groups", "group"))
    _write(folder / "learning_curve.csv", *_learning_curve(evaluation))


def _write(path: Path, heading: Row, body: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(body)  # None is written as an empty field


def _estimate_names(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _table1(evaluation: Tree) -> tuple[Row, list[Row]]:
    heading = [
        *("defence", "attack", "paper_accuracy", "paper_auroc"),
        *_estimate_names("accuracy"),
        *_estimate_names("f1"),
        *_estimate_names("auroc"),
        "auroc_deviation",
        *_estimate_names("coverage"),
        "films",
    ]
    flat: list[Row] = []
    for cell in cells(evaluation):
        body = [list(part) if isinstance(part, Rate) else [part] for part in cell]
        flat.append([field for part in body for field in part])
    return heading, flat


def _detectors(evaluation: Tree) -> tuple[Row, list[Row]]:
    estimates = ("detection_rate", "accuracy", "f1", "detection_auroc")
    levels = sorted(
        {
            level
            for row in rows(evaluation, "detectors")
            for attack in branch(row, "attacks").values()
            for found in rows(attack, "detection_at")
            if (level := number(found, "false_rejection_rate")) is not None
        }
    )
    heading = [
        *("detector", "supervised", "trained_on", "target", "threshold", "bound", "fitting_films"),
        *("calibration_films", "test_films", "test_patients", "false_rejections"),
        *_estimate_names("false_rejection_rate"),
        *_estimate_names("clean_passed_auroc"),
        *_estimate_names("clean_coverage"),
        *("attack", "films", "detected", "seen"),
        *(name for measure in estimates for name in _estimate_names(measure)),
        *_estimate_names("passed_auroc"),
        *("passed_auroc_deviation", "passed_findings", "passed"),
        *_estimate_names("coverage"),
        *(
            name
            for level in levels
            for kind in ("held_out", "held_out_refused")
            for name in _estimate_names(f"{kind}_at_{level:g}")
        ),
        *(f"on_roc_at_{level:g}" for level in levels),
    ]
    body: list[Row] = []
    for row in rows(evaluation, "detectors"):
        left = [
            *(at(row, key) for key in ("detector", "supervised", "trained_on", "target")),
            number(row, "threshold", "value"),
            number(row, "threshold", "bound"),
            *(at(row, key) for key in ("fitting_films", "calibration_films", "test_films", "test_patients")),
            at(row, "false_rejections"),
            *rate(row, "false_rejection_rate"),
            *mean_of(row, "clean_passed_auroc"),
            *rate(row, "clean_coverage"),
        ]
        for name, attack in branch(row, "attacks").items():
            found = {number(one, "false_rejection_rate"): one for one in rows(attack, "detection_at")}
            kinds = ("held_out", "held_out_false_rejection_rate")
            body.append(
                [
                    *left,
                    name,
                    *(at(attack, key) for key in ("n", "detected", "seen")),
                    *(part for measure in estimates for part in rate(attack, measure)),
                    *mean_of(attack, "passed_auroc"),
                    *(at(attack, "passed_auroc", key) for key in ("deviation", "findings")),
                    at(attack, "passed"),
                    *rate(attack, "coverage"),
                    *(part for level in levels for kind in kinds for part in rate(found.get(level), kind)),
                    *(number(found.get(level), "on_roc") for level in levels),
                ]
            )
    return heading, body


def _substitutes(evaluation: Tree) -> tuple[Row, list[Row]]:
    about = ("name", "arch", "learned_from", "initial_weights", "films", "epochs")
    learned = ("val_mean_absolute_difference", "constant_mean_absolute_difference", "val_correlation", "val_auroc")
    counts = ("epsilon", "films", "changed", "accepted", "passed")
    heading = [*about, *learned, *(f"transfer_{name}" for name in counts)]
    return heading, [
        [*(at(row, key) for key in (*about, *learned)), *(at(transfer, key) for key in counts)]
        for row in rows(evaluation, "substitutes")
        for transfer in rows(row, "transfer")
    ]


def _aware(evaluation: Tree) -> tuple[Row, list[Row]]:
    before = (
        *("attacker", "informed", "goal", "finding_choice", "epsilon", "size"),
        *("films", "eligible", "goal_reached", "evaded"),
    )
    after = ("clean_accepted", "probability_change", "grey_change", "steps_mean")
    heading = [*before, *_estimate_names("evasion_rate"), *after]
    return heading, [
        [*(at(row, key) for key in before), *rate(row, "evasion_rate"), *(at(row, key) for key in after)]
        for row in rows(evaluation, "aware")
    ]


def _refusals(evaluation: Tree, part: str, name: str) -> tuple[Row, list[Row]]:
    heading = [name, "films", "rejected", *_estimate_names("false_rejection_rate")]
    return heading, [
        [at(row, name), at(row, "films"), at(row, "rejected"), *rate(row, "false_rejection_rate")]
        for row in rows(evaluation, part)
    ]


def _orientation(evaluation: Tree) -> tuple[Row, list[Row]]:
    heading = ("film", "films", "unsuitable", "rejected", "passed")
    return heading, [[at(row, key) for key in heading] for row in rows(evaluation, "orientation")]


def _learning_curve(evaluation: Tree) -> tuple[Row, list[Row]]:
    points = rows(evaluation, "learning_curve")
    attacks = list(dict.fromkeys(name for point in points for name in branch(point, "detection_rate")))
    heading = ["detector", "n", "seed", "false_rejection_rate", *(f"detection_rate {name}" for name in attacks)]
    return heading, [
        [
            *(at(point, key) for key in ("detector", "n", "seed", "false_rejection_rate")),
            *(number(point, "detection_rate", name) for name in attacks),
        ]
        for point in points
    ]
