"""The tables of docs/recalibration.md, from the committed report: no number in them is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from offline import generated_tables
from offline.generated_tables import markdown_table

ATTACKS = ("FGSM 0.02", "BIM 0.02", "PGD 0.02", "MIM 0.02", "FGSM 2/255", "FGSM 1/255")


def learning_curve(scenario: dict[str, Any]) -> str:
    """False rejection of fresh films and detection, by the number of the site's films."""
    curve = scenario["learning_curve"]
    sizes = sorted({row["films"] for row in curve})
    lines = [
        _curve_row("the base's", [scenario["before"]]),
        _curve_row("threshold alone moved", [scenario["threshold_alone"]]),
        *(_curve_row(f"{size} films", [row for row in curve if row["films"] == size]) for size in sizes),
    ]
    return markdown_table(["gate", "fresh films rejected", *ATTACKS, "area, FGSM 2/255", "refused"], lines)


def harmless(scenario: dict[str, Any]) -> str:
    """What the checks say of scanners that mean no harm."""
    checks = list(scenario["harmless"][0]["evidence"])
    lines = [[row["films"], *(_share(row["evidence"][check]) for check in checks)] for row in scenario["harmless"]]
    return markdown_table(["films", *checks], lines)


def poisoning(scenario: dict[str, Any]) -> str:
    """What the checks see of attacked films mixed in, and what the gate would become without the checks."""
    knowing = next(name for name in scenario["poison_films"] if name.startswith("selective"))
    shown = ("FGSM 0.02", "FGSM 2/255", knowing)
    lines = []
    for row in scenario["poisoning"]:
        draws = row["draws"]
        seen = sum(any(check["suspicious"] for check in draw["evidence"].values()) for draw in draws)
        refused = sum(draw["refused_for_detection"] for draw in draws)
        cells = [
            row["attack"],
            f"{row['share']:.0%} ({row['films']} films)",
            f"{seen} of {len(draws)}",
            f"{refused} of {len(draws)}",
            _spread([draw["false_rejection_rate"] for draw in draws]),
            *(_spread([draw["detection"][name]["detection_rate"] for draw in draws]) for name in shown),
        ]
        lines.append(cells)
    heading = ["mixed in", "share", "seen by a check", "refused for detection", "fresh films rejected", *shown]
    return markdown_table(heading, lines)


def _curve_row(name: str, rows: list[dict[str, Any]]) -> list[str]:
    detection = [_spread([row["detection"][attack]["detection_rate"] for row in rows]) for attack in ATTACKS]
    area = sum(row["detection"]["FGSM 2/255"]["auroc"] for row in rows) / len(rows)
    refused = sum(row["refused_for_detection"] for row in rows)
    rejected = _spread([row["false_rejection_rate"] for row in rows])
    return [name, rejected, *detection, f"{area:.3f}", f"{refused} of {len(rows)}"]


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
