"""The evaluation's tables as CSV: a row for each measurement, empty where it was not made."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from .reading import (
    AimedRow,
    AttackRow,
    CurveRow,
    DetectorRow,
    DetectorThreshold,
    Evaluation,
    Interval,
    OrientationRow,
    RefusalRow,
    SubstituteRow,
    TransferRow,
)
from .table1 import cells

Record = dict[str, object]


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """detectors, substitutes, aware, harmless, orientation, groups, learning_curve and table1, each .csv with a heading."""
    levels = sorted(
        {
            level.false_rejection_rate
            for row in evaluation.detectors
            for attack in row.attacks.values()
            for level in attack.detection_at
            if level.false_rejection_rate is not None
        }
    )
    curve = evaluation.learning_curve
    attacks = list(dict.fromkeys(name for point in curve for name in point.detection_rate))
    tables: dict[str, list[Record]] = {
        "table1": [_flat(cell._asdict().items()) for cell in cells(evaluation)],
        "detectors": [
            _detector(row, name, attack, levels) for row in evaluation.detectors for name, attack in row.attacks.items()
        ],
        "substitutes": [_substitute(row, found) for row in evaluation.substitutes for found in row.transfer],
        "aware": [_flat(row) for row in evaluation.aware],
        "harmless": [_refusals(row, "change") for row in evaluation.harmless],
        "orientation": [_flat(row) for row in evaluation.orientation],
        "groups": [_refusals(row, "group") for row in evaluation.groups],
        "learning_curve": [_point(row, attacks) for row in curve],
    }
    #: Headings of tables without rows.
    empty = {
        "detectors": _detector(DetectorRow(), "", AttackRow(), levels),
        "substitutes": _substitute(SubstituteRow(), TransferRow()),
        "aware": _flat(AimedRow()),
        "harmless": _refusals(RefusalRow(), "change"),
        "orientation": _flat(OrientationRow()),
        "groups": _refusals(RefusalRow(), "group"),
        "learning_curve": _point(CurveRow(), attacks),
    }
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0] if rows else empty[name]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)  # None is written as an empty field


def _flat(fields: Iterable[tuple[str, object]]) -> Record:
    """The fields of a row by column. A measure has three columns: x, x_low and x_high. Lists and dicts are left out."""
    made: Record = {}
    for name, value in fields:
        if isinstance(value, Interval):
            made |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        elif isinstance(value, DetectorThreshold):
            made |= {name: value.value, "bound": value.bound}
        elif not isinstance(value, list | dict):
            made[name] = value
    return made


def _detector(row: DetectorRow, name: str, attack: AttackRow, levels: Sequence[float]) -> Record:
    found = [(level, attack.at_level(level)) for level in levels]
    auroc = attack.passed_auroc
    return {
        **_flat(row),
        **{"attack": name, "films": attack.n, "detected": attack.detected, "seen": attack.seen},
        **_flat((key, getattr(attack, key)) for key in ("detection_rate", "accuracy", "f1", "detection_auroc")),
        **_flat([("passed_auroc", auroc)]),
        **{"passed_auroc_deviation": auroc.deviation, "passed_findings": auroc.findings, "passed": attack.passed},
        **_flat([("coverage", attack.coverage)]),
        **_flat(
            pair
            for level, its in found
            for pair in (
                (f"held_out_at_{level:g}", its.held_out),
                (f"held_out_refused_at_{level:g}", its.held_out_false_rejection_rate),
            )
        ),
        **{f"on_roc_at_{level:g}": its.on_roc for level, its in found},
    }


def _substitute(row: SubstituteRow, transfer: TransferRow) -> Record:
    return {**_flat(row), **{f"transfer_{name}": value for name, value in transfer}}


def _refusals(row: RefusalRow, name: str) -> Record:
    return {name if key == "name" else key: value for key, value in _flat(row).items()}


def _point(row: CurveRow, attacks: Sequence[str]) -> Record:
    return {**_flat(row), **{f"detection_rate {name}": row.detection_rate.get(name) for name in attacks}}
