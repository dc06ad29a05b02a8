"""The report -> the tables of docs/field.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from offline.generated_tables import markdown_table

Rows = Sequence[Mapping[str, Any]]


def tables(report: Mapping[str, Any]) -> dict[str, str]:
    """By the name of its place; of the parts that are in the report."""
    return {part: render(report[part]["rows"]) for part, render in _TABLES.items() if part in report}


def _bundles(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["bundle"] for row in rows))


def _of(outcomes: Mapping[str, int], *which: str) -> str:
    return f"{sum(outcomes.get(one, 0) for one in which)} of {sum(outcomes.values())}"


def _by_bundle(rows: Rows, key: str, cells: Callable[[Mapping[str, Any]], list[str]]) -> list[list[str]]:
    """A line for each value of `key`, with the cells of every bundle beside each other."""
    found: dict[str, list[str]] = {}
    for bundle in _bundles(rows):
        for row in rows:
            if row["bundle"] == bundle:
                found.setdefault(row[key], [row[key]]).extend(cells(row))
    return list(found.values())


def _frames(rows: Rows) -> str:
    head = ["frame"]
    for bundle in _bundles(rows):
        head += [f"{bundle}: adversarial", "unsuitable", "change, median", "95th percentile", "a call turned"]

    def cells(row: Mapping[str, Any]) -> list[str]:
        changes = [row["change_median"], row["change_p95"]]
        outcomes = [_of(row["outcomes"], "adversarial"), _of(row["outcomes"], "unsuitable")]
        turned = str(row["films_with_a_call_turned"])
        return [*outcomes, *("" if one is None else f"{one:.3f}" for one in changes), turned]

    return markdown_table(head, _by_bundle(rows, "frame", cells))


def _painted(rows: Rows) -> str:
    head = ["painted around the film", *(f"{bundle}: adversarial" for bundle in _bundles(rows)), "edges found"]
    lines = _by_bundle(rows, "frame", lambda row: [_of(row["outcomes"], "adversarial")])
    found = {row["frame"]: f"{row['found']} of {sum(row['outcomes'].values())}" for row in rows}
    return markdown_table(head, ([*line, found[line[0]]] for line in lines))


def _presentation(rows: Rows) -> str:
    head = ["fault"]
    for bundle in _bundles(rows):
        head += [f"{bundle}: adversarial", "accepted", "refused, and told why"]

    def cells(row: Mapping[str, Any]) -> list[str]:
        found = row["outcomes"]
        return [_of(found, "adversarial"), _of(found, "accepted"), _of(found, "unsuitable", "other error")]

    return markdown_table(head, _by_bundle(rows, "fault", cells))


def _attacked(rows: Rows) -> str:
    frames = list(dict.fromkeys(row["frame"] for row in rows))
    head = ["bundle", "attack", *(f"{frame}: rejected; unsuitable" for frame in frames)]
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        line = lines.setdefault((row["bundle"], row["attack"]), [row["bundle"], row["attack"]])
        line.append(f"{_of(row['outcomes'], 'adversarial')}; {row['outcomes'].get('unsuitable', 0)}")
    return markdown_table(head, lines.values())


def _aimed(rows: Rows) -> str:
    head = ["bundle", "attacker", "goal", "largest change of a pixel", "passed", "with a frame"]
    return markdown_table(
        head,
        (
            [
                row["bundle"],
                row["attacker"],
                row["goal"],
                f"{row['epsilon'] * 255:.0f}/255" if row["epsilon"] < 0.01 else f"{row['epsilon']:g}",
                f"{row['passed']} of {row['films']}",
                f"{row['passed_in_some_frame']} of {row['films']}",
            ]
            for row in rows
        ),
    )


def _others(rows: Rows) -> str:
    """400 tells what a picture is; 422 is the gate's word; the rest got probabilities."""
    head = ["images"]
    for bundle in _bundles(rows):
        head += [f"{bundle}: 400 with a message of content", "400 turned", "422", "probabilities"]

    def cells(row: Mapping[str, Any]) -> list[str]:
        found = row["outcomes"]
        told = ("400 lateral", "400 no chest film")
        return [
            _of(found, *told),
            *(str(found.get(one, 0)) for one in ("400 turned", "422 adversarial", "probabilities")),
        ]

    return markdown_table(head, _by_bundle(rows, "images", cells))


def _cost(rows: Rows) -> str:
    return markdown_table(
        ["bundle", "film", "stage", "CPU, ms a film", "of all"],
        (
            [row["bundle"], row["film"], row["stage"], f"{row['milliseconds']:.1f}", f"{row['share']:.1%}"]
            for row in rows
        ),
    )


_TABLES: Final[dict[str, Callable[[Rows], str]]] = {
    "frames": _frames,
    "painted": _painted,
    "presentation": _presentation,
    "attacked": _attacked,
    "aimed": _aimed,
    "others": _others,
    "cost": _cost,
}
