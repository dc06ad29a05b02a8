"""The report for people: lines of a terminal, and tables of a page."""

from __future__ import annotations

from typing import Any, Final

from ..generated_tables import markdown_table

#: Groups of a page's table, and what its columns are called.
_COLUMNS: Final = {"all": "in the box, all", "not trained on": "not trained on"}


def table(report: dict[str, Any]) -> str:
    """Markdown for docs/heatmaps.md: maps and baselines, then how many answers have a heatmap that shows something."""
    groups = {name: report["groups"][name] for name in _COLUMNS if name in report["groups"]}
    first = groups["all"]
    boxes = [f"{_COLUMNS[name]} ({group['boxes']} boxes)" for name, group in groups.items()]
    maps = []
    for name, row in first["maps"].items():
        rates = [
            f"{its['hit_rate']:.0%} ({its['interval'][0]:.0%} to {its['interval'][1]:.0%})"
            for its in (group["maps"][name] for group in groups.values())
        ]
        title = f"**{name}** (served)" if name == report["served"] else name
        maps.append([title, *rates, f"{row['overlap']:.2f}", f"{row['empty']}", f"{row['outside_the_chest']}"])
    for name in first["baselines"]:
        rates = [f"{group['baselines'][name]:.0%}" if name in group["baselines"] else "" for group in groups.values()]
        maps.append([f"*{name}*", *rates, "", "", ""])
    calls = [
        [word, f"{counted['answers']}", f"{counted['localised'] / counted['answers']:.0%}"]
        for word, counted in report["localised"].items()
    ]
    first_table = markdown_table(["", *boxes, "overlap", "empty", "outside the chest"], maps)
    second_table = markdown_table(["call", "answers", "some place stands out"], calls)
    return f"Of `{report['subject']}`:\n\n{first_table}\n\n{second_table}\n"


def sentences(report: dict[str, Any]) -> list[str]:
    """The report for people, a line each."""
    lines = []
    for name, group in report["groups"].items():
        lines.append(f"{name}: {group['boxes']} boxes of {group['patients']} patients")
        lines += [
            f"  {title:42} in the box {row['hit_rate']:4.0%} ({row['interval'][0]:.0%} to {row['interval'][1]:.0%}), "
            f"overlap {row['overlap']:.2f}, empty {row['empty']}, outside the chest {row['outside_the_chest']}"
            + ("  <- served" if title == report["served"] else "")
            for title, row in group["maps"].items()
        ]
        lines += [f"  {title:42} in the box {rate:4.0%}" for title, rate in group["baselines"].items()]
    for word, counted in report["localised"].items():
        share = counted["localised"] / counted["answers"]
        lines.append(f"{word}: {counted['answers']} answers, in {share:.0%} some place of the film stands out")
    if not report["split_is_the_networks"]:
        lines.append("note: this network was trained on other films or another split; 'trained on' says nothing of it")
    return lines
