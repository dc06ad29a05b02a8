"""The tables of docs/threat-model.md, from the committed reports: no number in them is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from offline import generated_tables
from offline.attacks.goals import DEEDS
from offline.report.reading import AimedRow, Evaluation
from offline.report.words import decimal, percent, share_of, strength, text

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
        lines.append(
            f"| white-box {attack} | {epsilon} | {share_of(row['detected'], row['n'])} | {row['flip_rate']:.1%} |"
        )
    return "\n".join(lines)


def aimed(rows: Iterable[AimedRow]) -> str:
    """Who wants a finding, or its call, otherwise, of the bundle that is served."""
    lines = [
        "| attacker | knows the gate | epsilon | goal | passes, of those on whom it was possible | mean change, grey levels |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"{_start(row)} | {_passes(row)} |" for row in rows)])


def overshooting(evaluation: Evaluation) -> str:
    """The paper's attacks, of whoever has the network or a substitute and does not think of a gate."""
    lines = ["| attack of the paper | epsilon | rejected | top finding changed |", "|---|---|---|---|"]
    for name, row in evaluation.gate_row.attacks.items():
        epsilon = 0.02 if name.startswith("white-box") else 0.05
        flips = evaluation.paper_attacks[name].flip_rate
        lines.append(f"| {name} | {epsilon} | {share_of(row.detected, row.n)} | {percent(flips)} |")
    return "\n".join(lines)


def outsiders(evaluation: Evaluation) -> str:
    """Who has the service's answers alone: a substitute learned from them, or queries."""
    lines = ["| attacker | epsilon | passes, with another finding |", "|---|---|---|"]
    for one in evaluation.substitutes:
        for transfer in one.transfer:
            lines.append(
                f"| MIM on {one.name}, a {one.arch} learned from {one.learned_from} | {strength(transfer.epsilon)} "
                f"| {share_of(transfer.passed, transfer.films)} |"
            )
    for row in evaluation.libraries:
        if row.attacker == "Square" and row.goal:
            lines.append(
                f"| Square attack on the probabilities, {evaluation.options.square_queries} queries, {DEEDS[row.goal]} "
                f"| {strength(row.epsilon)} | {share_of(row.evaded, row.eligible)} |"
            )
    return "\n".join(lines)


def insiders(served: Evaluation, paper: Evaluation) -> str:
    """Who has the network, and who has the gate too: against what is served, and against the paper's gate."""
    lines = [
        "| attacker | knows the gate | epsilon | goal "
        "| passes what is served | mean change | passes the paper's gate | mean change |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = {_attack(row): row for row in paper.aware}
    for row in served.aware:
        of_paper = before.get(_attack(row))
        lines.append(
            f"{_start(row)} | {_passes(row)} | {'not measured |' if of_paper is None else _passes(of_paper)} |"
        )
    return "\n".join(lines)


def _attack(row: AimedRow) -> tuple[object, ...]:
    return row.attacker, row.size, row.wanted, strength(row.epsilon)


def _start(row: AimedRow) -> str:
    return f"| {row.attacker}, {row.size} pixels | {text(row.informed)} | {strength(row.epsilon)} | {row.wanted}"


def _passes(row: AimedRow) -> str:
    return f"{share_of(row.evaded, row.eligible)} | {decimal(row.grey_change, 2)}" if row.eligible else "n/a |"


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
            f"| {name} | {share_of(row['rejected'], row['films'])} | {share_of(calls['changed_films'], calls['films'])} "
            f"| {share_of(calls['opposite_films'], calls['films'])} | {row['grey_change']:.2f} |"
        )
    return "\n".join(lines)


def filled(document: str, root: Path = Path()) -> str:
    """The document with its tables anew: each stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises
    ------
    ValueError
        A table has no place.
    """
    report = json.loads((root / _SERVED).read_text())
    whole = Evaluation.model_validate_json((root / _SERVED_WHOLE).read_bytes())
    paper = Evaluation.model_validate_json((root / _PAPER).read_bytes())
    scenario = json.loads((root / _SCENARIO).read_text())
    return generated_tables.filled(
        document,
        {
            "served": served(report),
            "aimed": aimed(AimedRow.model_validate(row) for row in report["aimed"]),
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
