"""The tables of research/README.md, from the committed report: no number in them is typed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from offline import generated_tables
from offline.attacks.goals import AT_POINT, OPPOSITE, Goal
from offline.data.films import Split
from offline.evaluation.adaptive import AIMED as ATTACKERS
from offline.generated_tables import markdown_table

from .recipes import RECIPES

PAGE: Final = Path("research/README.md")
REPORT: Final = Path("reports/frontier/frontier.json")
BUDGETS: Final = ((1 / 255, "1/255"), (2 / 255, "2/255"))
_EPSILONS: Final = ((1 / 255, "1/255"), (0.005, ".005"), (0.02, ".02"))

NOT_MEASURED: Final = "not measured"
HELD_OUT: Final[tuple[Split, ...]] = ("val", "test")
_TURNINGS: Final = tuple((wanted.goal, budget, word) for budget, word in BUDGETS for wanted in OPPOSITE)

Point = dict[str, Any]


def filled(document: str, report: dict[str, Any]) -> str:
    """The document with its tables anew, each between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    tables = {"aimed": aimed(report), "blind": blind(report), "cost": cost(report), "bands": bands(report)}
    return generated_tables.filled(document, tables)


def aimed(report: dict[str, Any]) -> str:
    """Attackers who move a finding over its one point and stop: evaded of eligible, and the change of its probability."""
    columns = [
        (attacker, wanted.goal, budget, f"{attacker}, {wanted.goal}, {word}")
        for attacker in ATTACKERS
        for budget, word in BUDGETS
        for wanted in AT_POINT
    ]
    rows = []
    for _, point in points(report):
        found = [aimed_row(point, attacker, goal, budget) for attacker, goal, budget, _ in columns]
        rows.append([point["title"], *(_evaded(row) if row else NOT_MEASURED for row in found)])
    return markdown_table(["defence", *(title for *_, title in columns)], rows)


def aimed_row(point: Point, attacker: str, goal: Goal, budget: float) -> dict[str, Any] | None:
    """One attacker's results; None if they were not measured."""
    for row in point["aimed"]:
        if row["attacker"] == attacker and row["goal"] == goal and math.isclose(row["epsilon"], budget):
            return dict(row)
    return None


def bands(report: dict[str, Any]) -> str:
    """Accuracy, movement, the band, the share of answers in it, and the calls that each attacker turns."""
    rows = [
        [point["title"], *accuracy_of(point), *calls_of(point), *turned_of(point)]
        for _, point in points(report)
        if "calls" in point
    ]
    return markdown_table(["defence", *calls_heading()], rows) if rows else "The run of this table is still to be done."


def calls_heading() -> tuple[str, ...]:
    """Titles of what ``accuracy_of``, ``calls_of`` and ``turned_of`` give."""
    return (
        "AUROC test, as trained; so",
        "lost, val; test (95 %)",
        *(f"moved within {word}" for _, word in BUDGETS),
        "widest band",
        "findings called",
        "indeterminate",
        "called present on a film without findings; films with any",
        *(f"{goal}, {word}: {'; '.join(ATTACKERS)}" for goal, _, word in _TURNINGS),
    )


def accuracy_of(point: Point) -> list[str]:
    """Before the defence and with it, and what is lost of it on the same films."""
    if "lost" not in point:
        return [NOT_MEASURED] * 2
    lost = (f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in map(point["lost"].get, HELD_OUT))
    return [f"{point['trained']['test']:.3f}; {point['auroc']['test']:.3f}", "; ".join(lost)]


def calls_of(point: Point) -> list[str]:
    """Movement, band, and the counts of calls on test films."""
    calls = point["calls"]
    moved = {round(row["epsilon"] * 255): row["mean"] for row in calls["movement"]}
    false, any_call = (
        calls[name] for name in ("false_calls_on_a_film_without_findings", "films_without_findings_with_a_call")
    )
    return [
        *(f"{moved[round(budget * 255)]:.2f}" for budget, _ in BUDGETS),
        f"{calls['band']['widest']:.2f} ({calls['band']['finding']})",
        str(calls["findings_called"]),
        share_of(calls["indeterminate"]),
        f"{'n/a' if false is None else format(false, '.2f')}; {share_of(any_call)}",
    ]


def turned_of(point: Point) -> list[str]:
    """Calls turned into their opposite, of the films where one could be: by budget and goal, each attacker's."""
    cells = []
    for goal, budget, _ in _TURNINGS:
        rows = [aimed_row(point, attacker, goal, budget) for attacker in ATTACKERS]
        cells.append("; ".join(count_of(row["evaded"], row["eligible"]) if row else NOT_MEASURED for row in rows))
    return cells


def _evaded(row: dict[str, Any]) -> str:
    share = count_of(row["evaded"], row["eligible"])
    return f"{share}; {row['probability_change']:.3f}" if row["eligible"] else share


def blind(report: dict[str, Any]) -> str:
    """Attackers without a goal: rejected, or without effect on the top finding."""
    attacks = ("FGSM", "BIM", "PGD", "MIM", "APGD", "Square")
    columns = [(attack, epsilon, f"{attack} {word}") for epsilon, word in _EPSILONS for attack in attacks]
    lines = []
    for _, point in points(report):
        cells = []
        for attack, epsilon, _ in columns:
            rows = [row for row in point["blind"] if row["attack"] == attack and math.isclose(row["epsilon"], epsilon)]
            shares = [f"{row['stopped'] / row['films']:.0%} ({row['rejected'] / row['films']:.0%})" for row in rows]
            cells.append(shares[0] if shares else NOT_MEASURED)
        lines.append([point["title"], *cells])
    return markdown_table(["defence", *(title for *_, title in columns)], lines)


def cost(report: dict[str, Any]) -> str:
    """Accuracy and false rejection, clean and under harmless change."""
    changes = [row["change"] for row in points(report)[0][1]["harmless"]]
    lines = []
    for _, point in points(report):
        areas = [f"{point['auroc'][split]:.3f}" for split in HELD_OUT]
        refused = [count_of(row["rejected"], row["films"]) for row in (point["clean"], *point["harmless"])]
        lines.append([point["title"], *areas, *refused])
    return markdown_table(["defence", "AUROC val", "AUROC test", "clean refused", *changes], lines)


def points(report: dict[str, Any]) -> list[tuple[str, Point]]:
    """The measured points with their recipes' names, in the order of the recipes."""
    return [(name, report["points"][name]) for name in RECIPES if name in report["points"]]


def count_of(count: int, total: int) -> str:
    """A share, and what it is of: 50% (1 of 2)."""
    return f"{count / total:.0%} ({count} of {total})" if total else "n/a"


def share_of(value: float | None) -> str:
    """A share in percent."""
    return "n/a" if value is None else f"{value:.0%}"


def read_report(root: Path = Path(), report: Path = REPORT) -> dict[str, Any]:
    """The committed report, of the frontier or of looks."""
    content: dict[str, Any] = json.loads((root / report).read_text())
    return content
