"""Results -> one table (ratios first), and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.plan import Cell


def quantile(values: list[float], share: float) -> float:
    """Nearest-rank quantile; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def summary(system: str, cell: Cell, offered: float, came: dict[str, Any]) -> dict[str, Any]:
    """What came of one load: counts by outcome, rate, and latencies of the good films that were answered rightly."""
    good = [(said, due, end) for kind, said, due, end in came["records"] if kind == "good"]
    correct = [(due, end) for said, due, end in good if said == "correct"]
    refused = [end - due for said, due, end in good if said == "refused"]
    # A closed loop drains with fewer clients than it should have; an open one is over when its last answer is there.
    window = cell.seconds if cell.clients else max([cell.seconds, *(end for _, end in correct)])
    outcomes: dict[str, int] = {}
    for kind, said, _, _ in came["records"]:
        outcomes[f"{kind}: {said}"] = outcomes.get(f"{kind}: {said}", 0) + 1
    return {
        "system": system,
        "cell": cell.name,
        "mix": cell.mix,
        "clients": cell.clients,
        "hostile": cell.hostile,
        "offered": offered,
        "requests": len(came["records"]),
        "correct": len(correct),
        "refused": len(refused),
        "harmed": len(good) - len(correct) - len(refused),
        "outcomes": outcomes,
        "rate": sum(end <= window for _, end in correct) / window,
        "latency": [end - due for due, end in correct],
        "refused_latency": refused,
        "generator_cpu_seconds": came["cpu_seconds"],
        "elapsed": came["elapsed"],
    }


def write(result: dict[str, Any], folder: Path) -> None:
    (folder / "serving.md").write_text(
        str([{k: v for k, v in c.items() if "latency" not in k} for c in result["cells"]])
    )
