"""The README's table of figures, from a bundle's committed report: no number in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def figures(bundle: Path) -> str:
    """Markdown of the table, from ``report/report.json`` of the bundle."""
    report: dict[str, Any] = json.loads((bundle / "report" / "report.json").read_text())
    low, high = report["mean_auroc_interval"]
    reject_low, reject_high = report["false_rejection_rate_interval"]
    lines = [
        f"| on {report['test_n']} test films of {report['test_patients']} patients | | 95 % interval |",
        "|---|---|---|",
        f"| mean AUROC over 14 findings | {report['mean_auroc']:.3f} | {low:.3f} to {high:.3f} |",
        f"| clean films rejected (asked: 5 %) | {report['false_rejection_rate']:.1%} | {reject_low:.1%} to {reject_high:.1%} |",
    ]
    for name, row in report["attacks"].items():
        lines.append(
            f"| {name}, {row['steps']} step(s): detected | {row['detection_rate']:.1%} ({row['detected']} of {row['n']}) | |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(figures(Path("artifacts/default")))
