"""The tables of docs/threat-model.md, from the committed reports: no number in them is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from offline import generated_tables
from offline.attacks.goals import DEEDS
from offline.report.reading import gate_of, goal_of, strength

#: Of the bundle that is served; the whole experiment on it, and on the paper's gate.
_SERVED = Path("artifacts/default/report/report.json")
_SERVED_WHOLE = Path("reports/default/evaluation.json")
_PAPER = Path("reports/paper/evaluation.json")
_SCENARIO = Path("reports/recalibration/scenario.json")
_TAMPERING = Path("reports/tampering/tampering.json")


def served(report: dict[str, Any]) -> str:
    """The paper's attacks on the bundle that is served."""
    lines = ["| attack of the paper | epsilon | rejected | top finding changed |", "|---|---|---|---|"]
    for name, row in report["attacks"].items():
        attack, _, epsilon = name.partition(" epsilon=")
        lines.append(f"| white-box {attack} | {epsilon} | {_of(row['detected'], row['n'])} | {row['flip_rate']:.1%} |")
    return "\n".join(lines)


def aimed(report: dict[str, Any]) -> str:
    """Who wants a finding, or its call, otherwise, of the bundle that is served."""
    lines = [
        "| attacker | knows the gate | epsilon | goal | passes, of those on whom it was possible | mean change, grey levels |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"{_start(row)} | {_passes(row)} |" for row in report["aimed"])])


def overshooting(evaluation: dict[str, Any]) -> str:
    """The paper's attacks, of whoever has the network or a substitute and does not think of a gate."""
    gate = gate_of(evaluation)
    lines = ["| attack of the paper | epsilon | rejected | top finding changed |", "|---|---|---|---|"]
    for name, row in gate["attacks"].items():
        epsilon = 0.02 if name.startswith("white-box") else 0.05
        flips = evaluation["paper_attacks"][name]["flip_rate"]
        lines.append(f"| {name} | {epsilon} | {_of(row['detected'], row['n'])} | {flips:.1%} |")
    return "\n".join(lines)


def outsiders(evaluation: dict[str, Any]) -> str:
    """Who has the service's answers alone: a substitute learned from them, or queries."""
    lines = ["| attacker | epsilon | passes, with another finding |", "|---|---|---|"]
    for row in evaluation["substitutes"]:
        for transfer in row["transfer"]:
            lines.append(
                f"| MIM on {row['name']}, a {row['arch']} learned from {row['learned_from']} | {strength(transfer['epsilon'])} "
                f"| {_of(transfer['passed'], transfer['films'])} |"
            )
    queries = evaluation["options"]["square_queries"]
    for row in evaluation["libraries"]:
        if row["attacker"] == "Square":
            lines.append(
                f"| Square attack on the probabilities, {queries} queries, {DEEDS[row['goal']]} "
                f"| {strength(row['epsilon'])} | {_of(row['evaded'], row['eligible'])} |"
            )
    return "\n".join(lines)


def insiders(served: dict[str, Any], paper: dict[str, Any]) -> str:
    """Who has the network, and who has the gate too: against what is served, and against the paper's gate."""
    lines = [
        "| attacker | knows the gate | epsilon | goal "
        "| passes what is served | mean change | passes the paper's gate | mean change |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = {_attack(row): row for row in paper["aware"]}
    for row in served["aware"]:
        of_paper = before.get(_attack(row))
        lines.append(
            f"{_start(row)} | {_passes(row)} | {'not measured |' if of_paper is None else _passes(of_paper)} |"
        )
    return "\n".join(lines)


def _attack(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["attacker"], row["size"], goal_of(row), strength(row["epsilon"])


def _start(row: dict[str, Any]) -> str:
    informed = "yes" if row["informed"] else "no"
    return f"| {row['attacker']}, {row['size']} pixels | {informed} | {strength(row['epsilon'])} | {goal_of(row)}"


def _passes(row: dict[str, Any]) -> str:
    if not row["eligible"]:
        return "n/a |"
    return f"{_of(row['evaded'], row['eligible'])} | {row['grey_change']:.2f}"


def poisoners(scenario: dict[str, Any]) -> str:
    """Who puts attacked films among those of a recalibration."""
    lines = ["| mixed in | share | stopped | FGSM 0.02 detected, if it were not |", "|---|---|---|---|"]
    for row in scenario["poisoning"]:
        draws = row["draws"]
        stopped = sum(
            draw["refused_for_detection"] or any(check["suspicious"] for check in draw["evidence"].values())
            for draw in draws
        )
        rates = [draw["detection"]["FGSM 0.02"]["detection_rate"] for draw in draws]
        mean = sum(rates) / len(rates)
        lines.append(f"| {row['attack']} | {row['share']:.0%} | {stopped} of {len(draws)} draws | {mean:.1%} |")
    return "\n".join(lines)


def tampering(report: dict[str, Any]) -> str:
    """Who alters a film by hand, against the bundle that is served."""
    lines = [
        "| what was done | rejected as adversarial | another call, of those accepted | absent turned to present, or back "
        "| mean change, grey levels |",
        "|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        name, calls = "nothing" if row["tampering"] == "none" else row["tampering"], row["calls"]
        lines.append(
            f"| {name} | {_of(row['rejected'], row['films'])} | {_of(calls['changed_films'], calls['films'])} "
            f"| {_of(calls['opposite_films'], calls['films'])} | {row['grey_change']:.2f} |"
        )
    return "\n".join(lines)


def _of(count: int, total: int) -> str:
    return f"{count / total:.1%} ({count} of {total})" if total else "n/a"


def filled(document: str, root: Path = Path()) -> str:
    """The document with its tables anew: each stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises
    ------
    ValueError
        A table has no place.
    """
    report = json.loads((root / _SERVED).read_text())
    whole = json.loads((root / _SERVED_WHOLE).read_text())
    paper = json.loads((root / _PAPER).read_text())
    scenario = json.loads((root / _SCENARIO).read_text())
    return generated_tables.filled(
        document,
        {
            "served": served(report),
            "aimed": aimed(report),
            "overshooting": overshooting(paper),
            "outsiders": outsiders(whole),
            "outsiders-paper": outsiders(paper),
            "insiders": insiders(whole, paper),
            "poisoners": poisoners(scenario),
            "tampering": tampering(json.loads((root / _TAMPERING).read_text())),
        },
    )


if __name__ == "__main__":
    page = Path("docs/threat-model.md")
    page.write_text(filled(page.read_text()))
