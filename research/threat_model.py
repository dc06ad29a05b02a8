"""The tables of docs/threat-model.md, from the committed reports: no number in them is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from offline import generated_tables
from offline.attacks.goals import DEEDS
from offline.bundles.measured import BundleReport, report_of
from offline.generated_tables import markdown_table
from offline.report.reading import AimedRow, Evaluation
from offline.report.words import decimal, percent, share_of, strength, text

#: Reports of the served bundle: the whole experiment on it, and on the paper's gate.
_SERVED = Path("artifacts/default")
_SERVED_WHOLE = Path("reports/default/evaluation.json")
_PAPER = Path("reports/paper/evaluation.json")
_SCENARIO = Path("reports/recalibration/scenario.json")
_TAMPERING = Path("reports/tampering/tampering.json")


_OVERSHOOTING = ("attack of the paper", "epsilon", "rejected", "top finding changed")


def served(report: BundleReport) -> str:
    """The paper's attacks on the bundle that is served."""
    rows = []
    for name, row in report.attacks.items():
        attack, _, epsilon = name.partition(" epsilon=")
        rows.append([f"white-box {attack}", epsilon, share_of(row.detected, row.n), percent(row.flip_rate)])
    return markdown_table(_OVERSHOOTING, rows)


def aimed(rows: Iterable[AimedRow]) -> str:
    """Attackers who want to change a finding or its call, against the served bundle."""
    head = ["attacker", "knows the gate", "epsilon", "goal", "passes, of those on whom it was possible"]
    return markdown_table([*head, "mean change, grey levels"], ([*_start(row), *_passes(row)] for row in rows))


def overshooting(evaluation: Evaluation) -> str:
    """The paper's attacks, by attackers who have the network or a substitute and ignore the gate."""
    rows = []
    for name, row in evaluation.gate_row.attacks.items():
        epsilon = "0.02" if name.startswith("white-box") else "0.05"
        flips = percent(evaluation.paper_attacks[name].flip_rate)
        rows.append([name, epsilon, share_of(row.detected, row.n), flips])
    return markdown_table(_OVERSHOOTING, rows)


def outsiders(evaluation: Evaluation) -> str:
    """Attackers who have only the service's answers: a substitute learned from them, or queries."""
    rows = []
    for one in evaluation.substitutes:
        for transfer in one.transfer:
            who = f"MIM on {one.name}, a {one.arch} learned from {one.learned_from}"
            rows.append([who, strength(transfer.epsilon), share_of(transfer.passed, transfer.films)])
    for row in evaluation.libraries:
        if row.attacker == "Square" and row.goal:
            queries = evaluation.options.square_queries
            who = f"Square attack on the probabilities, {queries} queries, {DEEDS[row.goal]}"
            rows.append([who, strength(row.epsilon), share_of(row.evaded, row.eligible)])
    return markdown_table(["attacker", "epsilon", "passes, with another finding"], rows)


def insiders(served: Evaluation, paper: Evaluation) -> str:
    """Attackers who have the network, and those who have the gate too: against the served gate, and against the paper's."""
    head = ["attacker", "knows the gate", "epsilon", "goal"]
    for gate in ("what is served", "the paper's gate"):
        head += [f"passes {gate}", "mean change"]
    before = {_attack(row): _passes(row) for row in paper.aware}
    return markdown_table(
        head, ([*_start(row), *_passes(row), *before.get(_attack(row), ["not measured", ""])] for row in served.aware)
    )


def _attack(row: AimedRow) -> tuple[object, ...]:
    return row.attacker, row.size, row.wanted, strength(row.epsilon)


def _start(row: AimedRow) -> list[str]:
    return [f"{row.attacker}, {row.size} pixels", text(row.informed), strength(row.epsilon), row.wanted]


def _passes(row: AimedRow) -> list[str]:
    return [share_of(row.evaded, row.eligible), decimal(row.grey_change, 2)] if row.eligible else ["n/a", ""]


def poisoners(scenario: dict[str, Any]) -> str:
    """Attackers who put attacked films among the films of a recalibration."""
    rows = []
    for row in scenario["poisoning"]:
        draws = row["draws"]
        stopped = sum(
            draw["refused_for_detection"] or any(check["suspicious"] for check in draw["evidence"].values())
            for draw in draws
        )
        rates = [draw["detection"]["FGSM 0.02"]["detection_rate"] for draw in draws]
        mean = sum(rates) / len(rates)
        rows.append([row["attack"], f"{row['share']:.0%}", f"{stopped} of {len(draws)} draws", f"{mean:.1%}"])
    return markdown_table(["mixed in", "share", "stopped", "FGSM 0.02 detected, if it were not"], rows)


def tampering(report: dict[str, Any]) -> str:
    """Attackers who alter a film by hand, against the served bundle."""
    head = ["what was done", "rejected as adversarial", "another call, of those accepted"]
    rows = []
    for row in report["rows"]:
        name, calls = "nothing" if row["tampering"] == "none" else row["tampering"], row["calls"]
        changed = [share_of(calls[key], calls["films"]) for key in ("changed_films", "opposite_films")]
        rows.append([name, share_of(row["rejected"], row["films"]), *changed, f"{row['grey_change']:.2f}"])
    return markdown_table([*head, "absent turned to present, or back", "mean change, grey levels"], rows)


def filled(document: str, root: Path = Path()) -> str:
    """The document with its tables anew: each stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises
    ------
    ValueError
        A table has no place.
    """
    report = report_of(root / _SERVED)
    whole = Evaluation.model_validate_json((root / _SERVED_WHOLE).read_bytes())
    paper = Evaluation.model_validate_json((root / _PAPER).read_bytes())
    scenario = json.loads((root / _SCENARIO).read_text())
    return generated_tables.filled(
        document,
        {
            "served": served(report),
            "aimed": aimed(report.aimed),
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
