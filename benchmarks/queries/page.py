"""The report -> the tables of docs/query-detection.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from offline.generated_tables import markdown_table

Rows = Sequence[dict[str, Any]]


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """By the name of its place; of the parts that are in the report."""
    return {part: render(report[part]) for part, render in _TABLES.items() if report.get(part)}


def _choice(rows: Rows) -> str:
    cells = [
        [
            each["descriptor"],
            *(f"{each['queries_median'][e]:.3f}, {each['queries_p95'][e]:.3f}" for e in ("0.00784", "0.02", "0.05")),
            f"{each['serial_least']:.3f} ({each['serial_pairs']} pairs)",
            f"{each['other_least']:.3f} ({each['other_pairs']})",
        ]
        for each in rows
    ]
    squares = ("Square 2/255", "Square .02", "Square .05")
    return markdown_table(["descriptor", *squares, "films of one patient, least", "of two patients, least"], cells)


def _radius(rows: Rows) -> str:
    (found,) = rows
    counts = ", ".join(f"{radius}: {count}" for radius, count in found["most_near_duplicates"].items())
    return (
        f"Radius **{found['radius']:.2f}**. The most near-duplicates that any of {found['films']} train and val films has, by "
        f"radius: {counts}."
    )


def _alarms(rows: Rows) -> str:
    names = ("stream", "films", "new", "with_any", "most", "alarms")
    head = ["what one caller sends", "films", "of them new", "with a near-duplicate", "most of one film", "alarms"]
    return markdown_table(head, [[str(each[name]) for name in names] for each in rows])


def _attacks(rows: Rows) -> str:
    cells = [
        [
            each["attack"],
            each["goal"],
            str(each["callers"]),
            f"{each['refused']} of {each['films']}",
            _number(each["refused_at_median"]),
            _number(each["refused_at_most"]),
            f"{each['won']} of {each['films']}",
            _number(each["won_at_median"]),
        ]
        for each in rows
    ]
    head = ["attack", "goal", "callers", "refused", "at query (median)", "at most", "won", "at query (median)"]
    return markdown_table(head, cells) + f"\n\nAt most {rows[0]['budget']} queries on a film."


def _undefended(rows: Rows) -> str:
    cells = [
        [each["attack"], each["goal"], f"{each['won']} of {each['films']}", _number(each["won_at_median"])]
        for each in rows
    ]
    budget = f"\n\nAt most {rows[0]['budget']} queries on a film."
    return markdown_table(["attack, nobody looking", "goal", "won", "at query (median)"], cells) + budget


def _dodges(rows: Rows) -> str:
    cells = [
        [
            each["dodge"],
            f"{each['noticed']} of {each['films']}",
            _number(each["median_query"]),
            f"{each['gate_passes_the_change_alone']} of {each['films']}",
        ]
        for each in rows
    ]
    noticed = f"noticed within {rows[0]['queries']} queries"
    return markdown_table(["each query also", noticed, "at query (median)", "gate passes the change alone"], cells)


def _cost(rows: Rows) -> str:
    (found,) = rows
    return (
        f"With {found['memory']} films in memory: {found['median_ms']:.2f} ms a film (median; 95 %: {found['p95_ms']:.2f} ms), "
        f"{found['digest_ms']:.2f} ms of it the digest by which the same film is known again."
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


_TABLES: Final[dict[str, Callable[[Rows], str]]] = {
    "choice": _choice,
    "radius": _radius,
    "alarms": _alarms,
    "attacks": _attacks,
    "undefended": _undefended,
    "dodges": _dodges,
    "cost": _cost,
}
