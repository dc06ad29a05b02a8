"""The report -> the tables of docs/query-detection.md, each between its marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final


def write(path: Path, report: dict[str, Any]) -> None:
    """Replace the tables of the parts that are in the report; the words around them stay."""
    path.write_text(filled(path.read_text(), report))


def filled(text: str, report: dict[str, Any]) -> str:
    """The page with the report's tables."""
    for part, render in TABLES.items():
        if part in report:
            table = render(report[part])
            pattern = rf"(<!-- {part} -->\n).*?(<!-- end of {part} -->)"
            text, count = re.subn(
                pattern, lambda found, table=table: f"{found[1]}{table}{found[2]}", text, flags=re.DOTALL
            )
            if count != 1:
                raise ValueError(f"the page has no place for {part}")
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _choice(part: dict[str, Any]) -> str:
    rows = [
        [
            each["descriptor"],
            *(f"{each['queries_median'][e]:.3f}, {each['queries_p95'][e]:.3f}" for e in ("0.00784", "0.02", "0.05")),
            f"{each['serial_least']:.3f} ({each['serial_pairs']})",
            f"{each['other_least']:.3f} ({each['other_pairs']})",
        ]
        for each in part["descriptors"]
    ]
    head = [
        "descriptor",
        "Square 2/255",
        "Square .02",
        "Square .05",
        "films of a patient, least",
        "of two patients, least",
    ]
    radius = (
        f"\nRadius: **{part['radius']:.2f}**. Most near-duplicates that any of {part['films']} films has, by radius: "
        + ", ".join(f"{radius}: {count}" for radius, count in part["most_near_duplicates_by_radius"].items())
        + ".\n"
    )
    return _table(head, rows) + radius


def _alarms(part: dict[str, Any]) -> str:
    rows = [
        [each["stream"], *(str(each[k]) for k in ("films", "new", "with_any", "most", "alarms"))]
        for each in part["streams"]
    ]
    head = ["what one caller sends", "films", "of them new", "with a near-duplicate", "most of one film", "alarms"]
    return _table(head, rows) + (
        f"\nThe {part['test_patients']} test patients have {part['test_serial_pairs']} pairs of films of one patient.\n"
    )


def _dodges(part: dict[str, Any]) -> str:
    rows = [
        [
            each["dodge"],
            f"{each['noticed']} of {each['films']}",
            "" if each["median_query"] is None else f"{each['median_query']:g}",
            f"{each['gate_passes_the_change_alone']} of {each['films']}",
        ]
        for each in part["dodges"]
    ]
    head = [
        "each query also",
        f"noticed within {part['queries']} queries",
        "at query (median)",
        "gate passes the change alone",
    ]
    return _table(head, rows)


def _cost(part: dict[str, Any]) -> str:
    return f"With {part['memory']} films in memory: {part['median_ms']:.2f} ms a film (median; 95 %: {part['p95_ms']:.2f} ms).\n"


def _attacks(part: dict[str, Any]) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:g}"

    def row(each: dict[str, Any], mode: str) -> list[str]:
        refused = f"{each['refused']} of {each['films']}" if mode == "refuse" else ""
        return [
            mode,
            each["attack"],
            each["goal"],
            str(each["callers"]),
            refused,
            number(each["refused_at_median"]),
            number(each["refused_at_most"]),
            f"{each['won']} of {each['films']}",
            number(each["won_at_median"]),
        ]

    head = [
        "`CXR_QUERY_SEQUENCES`",
        "attack",
        "goal",
        "callers",
        "refused",
        "at query (median)",
        "at most",
        "won",
        "at query",
    ]
    rows = [row(each, mode) for mode in ("refuse", "off") for each in part[mode]]
    return _table(head, rows) + f"\nAt most {part['off'][0]['budget']} queries each.\n"


TABLES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "choice": _choice,
    "alarms": _alarms,
    "attacks": _attacks,
    "dodges": _dodges,
    "cost": _cost,
}
