"""The tables of docs/recalibration.md, from the committed report: no number in them is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from offline import generated_tables

ATTACKS = ("FGSM 0.02", "BIM 0.02", "PGD 0.02", "MIM 0.02", "FGSM 2/255", "FGSM 1/255")


def learning_curve(scenario: dict[str, Any]) -> str:
    """False rejection of fresh films and detection, by the number of the site's films."""
    lines = [
        f"| gate | fresh films rejected | {' | '.join(ATTACKS)} | area, FGSM 2/255 | refused |",
        "|---|---|" + "---|" * (len(ATTACKS) + 2),
        _curve_row("the base's", [scenario["before"]]),
        _curve_row("threshold alone moved", [scenario["threshold_alone"]]),
    ]
    curve = scenario["learning_curve"]
    lines += [
        _curve_row(f"{size} films", [row for row in curve if row["films"] == size])
        for size in sorted({row["films"] for row in curve})
    ]
    return "\n".join(lines)


def harmless(scenario: dict[str, Any]) -> str:
    """What the checks say of scanners that mean no harm."""
    checks = list(scenario["harmless"][0]["evidence"])
    lines = [f"| films | {' | '.join(checks)} |", "|---|" + "---|" * len(checks)]
    for row in scenario["harmless"]:
        lines.append(f"| {row['films']} | {' | '.join(_share(row['evidence'][check]) for check in checks)} |")
    return "\n".join(lines)


def poisoning(scenario: dict[str, Any]) -> str:
    """What the checks see of attacked films mixed in, and what the gate would become without the checks."""
    knowing = next(name for name in scenario["poison_films"] if name.startswith("selective"))
    shown = ("FGSM 0.02", "FGSM 2/255", knowing)
    lines = [
        f"| mixed in | share | seen by a check | refused for detection | fresh films rejected | {' | '.join(shown)} |",
        "|---|---|---|---|---|" + "---|" * len(shown),
    ]
    for row in scenario["poisoning"]:
        draws = row["draws"]
        seen = sum(any(check["suspicious"] for check in draw["evidence"].values()) for draw in draws)
        refused = sum(draw["refused_for_detection"] for draw in draws)
        cells = [
            f"{seen} of {len(draws)}",
            f"{refused} of {len(draws)}",
            _spread([draw["false_rejection_rate"] for draw in draws]),
            *(_spread([draw["detection"][name]["detection_rate"] for draw in draws]) for name in shown),
        ]
        lines.append(f"| {row['attack']} | {row['share']:.0%} ({row['films']} films) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _curve_row(name: str, rows: list[dict[str, Any]]) -> str:
    detection = [_spread([row["detection"][attack]["detection_rate"] for row in rows]) for attack in ATTACKS]
    area = sum(row["detection"]["FGSM 2/255"]["auroc"] for row in rows) / len(rows)
    refused = sum(row["refused_for_detection"] for row in rows)
    rejected = _spread([row["false_rejection_rate"] for row in rows])
    return f"| {name} | {rejected} | {' | '.join(detection)} | {area:.3f} | {refused} of {len(rows)} |"


def _spread(values: list[float]) -> str:
    """Mean, and in brackets the least and the most where they differ."""
    mean, low, high = sum(values) / len(values), min(values), max(values)
    return f"{mean:.1%}" if low == high else f"{mean:.1%} ({low:.1%} to {high:.1%})"


def _share(evidence: dict[str, Any]) -> str:
    return f"{evidence['share']:.1%}" + (", suspicious" if evidence["suspicious"] else "")


def filled(document: str, scenario: dict[str, Any]) -> str:
    """The document with its tables anew: each stands between ``<!-- name -->`` and ``<!-- /name -->``."""
    tables = (learning_curve, harmless, poisoning)
    return generated_tables.filled(document, {table.__name__: table(scenario) for table in tables})


if __name__ == "__main__":
    page = Path("docs/recalibration.md")
    page.write_text(filled(page.read_text(), json.loads(Path("reports/recalibration/scenario.json").read_text())))
