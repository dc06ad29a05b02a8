"""The figures of a soak for docs/faults.md, from its report: ``python -m benchmarks.soak.table`` puts them there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_REPORT = Path("reports/soak/requests.json")


def figures(report: dict[str, Any]) -> str:
    """Markdown."""
    memory, p99 = report["memory_megabytes"], report["p99_ms"]
    statuses = ", ".join(f"{count:,} of status {status}" for status, count in report["statuses"].items())
    rate = report["samples"][-1]["requests"] / report["samples"][-1]["seconds"]
    return "\n".join(
        [
            f"| {report['requests']:,} requests, {report['clients']} clients | median | slope, with its standard error | the line grows by |",
            "|---|---|---|---|",
            f"| memory of all processes (PSS) | {memory['median']:.0f} MB | {1000 * memory['slope']:.2f} ± {1000 * memory['error']:.2f} "
            f"KB a request | {memory['growth']:.1%} |",
            f"| p99 of a window of {report['requests'] // len(report['samples']):,} | {p99['median']:.0f} ms "
            f"| {1000 * p99['slope']:.2f} ± {1000 * p99['error']:.2f} µs a request | {p99['growth']:.1%} |",
            "",
            f"{statuses}; {rate:.0f} requests a second, on two cores that other work shared. Wrong answers, lost connections, "
            f"growth: {'; '.join(report['faults']) or 'none'}.",
        ]
    )


def filled(document: str, root: Path = Path()) -> str:
    """The document with the figures anew, between ``<!-- soak -->`` and ``<!-- /soak -->``."""
    before, _, rest = document.partition("<!-- soak -->")
    _, _, after = rest.partition("<!-- /soak -->")
    return f"{before}<!-- soak -->\n{figures(json.loads((root / _REPORT).read_text()))}\n<!-- /soak -->{after}"


if __name__ == "__main__":
    page = Path("docs/faults.md")
    page.write_text(filled(page.read_text()))
