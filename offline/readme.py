"""The README's tables of figures, from committed reports: no number in them is typed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from app.pipeline.image import INPUT_SIDE

from .model_card import aimed_table
from .report.reading import strength


def figures(bundle: Path) -> str:
    """Markdown of the table, from ``report/report.json`` and ``report/calls-report.json`` of the bundle."""
    report: dict[str, Any] = json.loads((bundle / "report" / "report.json").read_text())
    calls: dict[str, Any] = json.loads((bundle / "report" / "calls-report.json").read_text())
    target = json.loads((bundle / "manifest.json").read_text())["gate"]["target_false_rejection_rate"]
    low, high = report["mean_auroc_interval"]
    reject_low, reject_high = report["false_rejection_rate_interval"]
    lines = [
        f"| on {report['test_n']} test films of {report['test_patients']} patients | | 95 % interval |",
        "|---|---|---|",
        f"| mean AUROC over 14 findings | {report['mean_auroc']:.3f} | {low:.3f} to {high:.3f} |",
        f"| clean films rejected (asked: {100 * target:g} %) | {report['false_rejection_rate']:.1%} | "
        f"{reject_low:.1%} to {reject_high:.1%} |",
        f"| findings called present on a film without findings, mean | {calls['false_calls_on_a_film_without_findings']:.2f} | |",
        f"| films without findings with one or more | {calls['films_without_findings_with_a_call']:.0%} | |",
        f"| answers that are indeterminate | {calls['indeterminate']:.1%} | |",
    ]
    for name, row in report["attacks"].items():
        lines.append(
            f"| {name}, {row['steps']} step(s): detected | {row['detection_rate']:.1%} ({row['detected']} of {row['n']}) | |"
        )
    return "\n".join(lines)


def aimed(bundle: Path) -> str:
    """Markdown of attackers with a goal against the served bundle, from its own report: the model card's table."""
    report: dict[str, Any] = json.loads((bundle / "report" / "report.json").read_text())
    return "\n".join(aimed_table(report["aimed"]))


COLUMNS: Final = {
    "absent-to-present": "turns absent into present",
    "present-to-absent": "turns present into absent",
    "hide": "hides a finding",
    "invent": "invents one",
}
SHOWN_BUDGETS = (1 / 255,)  # what passes within this passes within any larger one


def attackers(report: Path) -> str:
    """Markdown of who passes the paper's gate, from ``evaluation.json`` of a whole experiment."""
    evaluation: dict[str, Any] = json.loads((report / "evaluation.json").read_text())
    shown = [row for row in evaluation["aware"] if row.get("finding_choice") != "random"]
    columns = {goal: title for goal, title in COLUMNS.items() if any(row["goal"] == goal for row in shown)}
    lines = [
        f"| attacker | knows the gate | epsilon | {' | '.join(columns.values())} |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    cells: dict[tuple[str, int, float], dict[str, dict[str, Any]]] = {}
    for row in shown:
        if any(math.isclose(row["epsilon"], budget) for budget in SHOWN_BUDGETS):
            cells.setdefault((row["attacker"], row["size"], row["epsilon"]), {})[row["goal"]] = row
    for (name, size, epsilon), goals in cells.items():
        informed = "yes" if next(iter(goals.values()))["informed"] else "no"
        where = "" if size == INPUT_SIDE else f", on {size} pixel films"
        passed = [_passed(goals.get(goal)) for goal in columns]
        lines.append(f"| {name}{where} | {informed} | {strength(epsilon)} | {' | '.join(passed)} |")
    for row in evaluation.get("substitutes", []):
        for transfer in row["transfer"]:
            share = f"{transfer['passed'] / transfer['films']:.1%} ({transfer['passed']} of {transfer['films']})"
            lines.append(
                f"| MIM on an outsider's {row['arch']}, from {row['learned_from']} | no | {strength(transfer['epsilon'])} "
                f"| {share}: either |{' |' * (len(columns) - 1)}"
            )
    return "\n".join(lines)


def _passed(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if not row["eligible"]:
        return "n/a"
    return f"{row['evaded'] / row['eligible']:.1%} ({row['evaded']} of {row['eligible']})"


if __name__ == "__main__":
    print(figures(Path("artifacts/default")))
    print(aimed(Path("artifacts/default")))
    print(attackers(Path("reports/paper")))
