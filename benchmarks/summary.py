"""One load's raw records -> counts, rate and latencies; and several turns of one load pooled."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.plan import PlannedLoad


def quantile(values: list[float], share: float) -> float:
    """Nearest-rank quantile; NaN if there are no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def summary(system: str, cell: PlannedLoad, offered: float, came: dict[str, Any]) -> dict[str, Any]:
    """The results of one load; latencies are those of good films with right answers, in seconds."""
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
        "latency": [round(end - due, 5) for due, end in correct],
        "refused_latency": [round(seconds, 5) for seconds in refused],
        "generator_cpu_seconds": came["cpu_seconds"],
    }


def pooled(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """All turns of one load on one system: the median rate and its range, latencies and counts together."""
    rates = [turn["rate"] for turn in turns]
    requests = sum(turn["requests"] for turn in turns)
    latency = [seconds for turn in turns for seconds in turn["latency"]]
    return {
        "rate": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "offered": statistics.median(turn["offered"] for turn in turns),
        "n": sum(turn["correct"] for turn in turns),
        "harmed": sum(turn["harmed"] for turn in turns),
        "refused": sum(turn["refused"] for turn in turns),
        "cpu_ms": 1000 * sum(turn["cpu_seconds"] for turn in turns) / max(1, requests),
        "generator_cpu_ms": 1000 * sum(turn["generator_cpu_seconds"] for turn in turns) / max(1, requests),
        "megabytes": max(turn["megabytes"] for turn in turns),
        "latest": max(latency, default=float("nan")),
        "refused_ms": [1000 * seconds for turn in turns for seconds in turn["refused_latency"]],
        **{f"p{p}": 1000 * quantile(latency, p / 100) for p in (50, 95, 99)},
    }
