"""The tables of docs/research.md, from the committed report: no number in them is typed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from .. import marked
from ..attacks.goals import AT_POINT, OPPOSITE
from .recipes import RECIPES

PAGE: Final = Path("docs/research.md")
REPORT: Final = Path("reports/frontier/frontier.json")
BUDGETS: Final = ((1 / 255, "1/255"), (2 / 255, "2/255"))
_EPSILONS: Final = ((1 / 255, "1/255"), (0.005, ".005"), (0.02, ".02"))

Point = dict[str, Any]


def filled(document: str, report: dict[str, Any]) -> str:
    """The document with its tables anew, each between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    return marked.filled(document, {"aimed": aimed(report), "blind": blind(report), "cost": cost(report)})


def aimed(report: dict[str, Any]) -> str:
    """Who moves a finding, or turns its call, and stops there: evaded of eligible, and by how much the probability changes."""
    wanted = (*AT_POINT, *OPPOSITE)
    tried = {row["goal"] for _, point in points(report) for row in point["aimed"]}
    goals = [each.goal for each in wanted if each.goal in tried]
    columns = [
        (attacker, goal, budget, f"{attacker}, {goal}, {word}")
        for attacker in ("minimal", "selective")
        for budget, word in BUDGETS
        for goal in goals
    ]
    lines = [table_row("defence", *(title for *_, title in columns)), table_row(*["---"] * (len(columns) + 1))]
    for _, point in points(report):
        cells = []
        for attacker, goal, budget, _ in columns:
            rows = [
                row
                for row in point["aimed"]
                if row["attacker"] == attacker and row["goal"] == goal and math.isclose(row["epsilon"], budget)
            ]
            cells.append(_evaded(rows[0]) if rows else "not measured")
        lines.append(table_row(point["title"], *cells))
    return "\n".join(lines)


def _evaded(row: dict[str, Any]) -> str:
    share = count_of(row["evaded"], row["eligible"])
    return f"{share}; {row['probability_change']:.3f}" if row["eligible"] else share


def blind(report: dict[str, Any]) -> str:
    """Attackers without a goal: rejected, or without effect on the top finding."""
    attacks = ("FGSM", "BIM", "PGD", "MIM", "APGD", "Square")
    columns = [(attack, epsilon, f"{attack} {word}") for epsilon, word in _EPSILONS for attack in attacks]
    lines = [table_row("defence", *(title for *_, title in columns)), table_row(*["---"] * (len(columns) + 1))]
    for _, point in points(report):
        cells = []
        for attack, epsilon, _ in columns:
            rows = [row for row in point["blind"] if row["attack"] == attack and math.isclose(row["epsilon"], epsilon)]
            shares = [f"{row['stopped'] / row['films']:.0%} ({row['rejected'] / row['films']:.0%})" for row in rows]
            cells.append(shares[0] if shares else "not measured")
        lines.append(table_row(point["title"], *cells))
    return "\n".join(lines)


def cost(report: dict[str, Any]) -> str:
    """Accuracy and false rejection, clean and under harmless change."""
    changes = [row["change"] for row in points(report)[0][1]["harmless"]]
    lines = [
        table_row("defence", "AUROC val", "AUROC test", "clean refused", *changes),
        table_row(*["---"] * (len(changes) + 4)),
    ]
    for _, point in points(report):
        clean = point["clean"]
        lines.append(
            table_row(
                point["title"],
                f"{point['auroc']['val']:.3f}",
                f"{point['auroc']['test']:.3f}",
                count_of(clean["rejected"], clean["films"]),
                *(count_of(row["rejected"], row["films"]) for row in point["harmless"]),
            )
        )
    return "\n".join(lines)


def points(report: dict[str, Any]) -> list[tuple[str, Point]]:
    """Those that were measured, with their recipes' names, in the order of the recipes."""
    return [(name, report["points"][name]) for name in RECIPES if name in report["points"]]


def table_row(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def count_of(count: int, total: int) -> str:
    """A share, and what it is of: 50% (1 of 2)."""
    return f"{count / total:.0%} ({count} of {total})" if total else "n/a"


def read_report(root: Path = Path(), report: Path = REPORT) -> dict[str, Any]:
    """The committed report, of the frontier or of looks."""
    content: dict[str, Any] = json.loads((root / report).read_text())
    return content
