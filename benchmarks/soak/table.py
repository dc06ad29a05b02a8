"""The figures of a soak for docs/faults.md, from its report: ``python -m benchmarks.soak.table`` puts them there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from offline import generated_tables

#: As ``make soak`` writes them into build/soak; copied here, they are what the document shows.
_REPORTS = (Path("reports/soak/minutes.json"), Path("reports/soak/requests.json"))


def figures(report: dict[str, Any]) -> str:
    """Markdown."""
    memory, p99 = report["memory_megabytes"], report["p99_ms"]
    statuses = ", ".join(f"{count:,} of status {status}" for status, count in report["statuses"].items())
    seconds = report["samples"][-1]["seconds"]
    rate = report["samples"][-1]["requests"] / seconds
    window = report["requests"] // len(report["samples"])
    per = report["slopes_per"]
    rows = [
        (
            f"{report['requests']:,} requests in {seconds / 60:.0f} minutes, {report['clients']} clients, the network: "
            f"{report['network']}",
            "median",
            "slope, with its error",
            "grows by",
        ),
        ("---",) * 4,
        (
            "memory of all processes (PSS)",
            f"{memory['median']:.0f} MB",
            _slope(memory, "KB", per),
            f"{memory['growth']:.1%}",
        ),
        (f"p99 of each {window:,} requests", f"{p99['median']:.0f} ms", _slope(p99, "µs", per), f"{p99['growth']:.1%}"),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    faults = "; ".join(report["faults"]) or "none"
    return (
        f"{table}\n\n{statuses}; {rate:.0f} requests a second, on two cores that other work shared. Wrong answers, lost "
        f"connections, growth over the limits: {faults}."
    )


def _slope(trend: dict[str, float], thousandth: str, per: str) -> str:
    return f"{1000 * trend['slope']:.2f} ± {1000 * trend['error']:.2f} {thousandth} a {per}"


def filled(document: str, root: Path = Path()) -> str:
    """The document with the figures anew, between ``<!-- soak -->`` and ``<!-- /soak -->``."""
    tables = "\n\n".join(figures(json.loads((root / report).read_text())) for report in _REPORTS)
    return generated_tables.filled(document, {"soak": tables})


if __name__ == "__main__":
    page = Path("docs/faults.md")
    page.write_text(filled(page.read_text()))
