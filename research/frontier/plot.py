"""The frontier as a picture: what an attacker gets, against what the defence costs in accuracy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from offline.attacks.goals import AT_POINT
from offline.report.plot_style import ATTACKER_HUES, LIGHT, MARKERS, Theme, as_percent, canvas, look_of, png

from .table import BUDGETS, points

PICTURE: Final = Path("reports/frontier/frontier.png")
WORDS: Final = {"minimal": "does not know the gate", "selective": "knows everything"}
_GOALS: Final = tuple(wanted.goal for wanted in AT_POINT)  # together; those on calls are in the table
ASIDE: Final = 0.0006  # of AUROC: so that intervals of two attackers on one defence do not hide each other
ROOM: Final = 0.55  # over this, a name would leave the picture at its top


def draw(report: dict[str, Any], theme: Theme) -> Figure:
    """A panel for each budget: evaded (hiding and inventing together, with 95 % intervals of Wilson) against mean test AUROC."""
    figure = canvas(9.2, 4.4)
    panels = figure.subplots(1, len(BUDGETS), sharey=True)
    for axes, (budget, word) in zip(panels, BUDGETS, strict=True):
        _panel(axes, report, budget, theme)
        axes.set_title(f"within {word}")
        axes.set_xlabel("mean AUROC, test films")
    panels[0].set_ylabel("evaded the gate")
    panels[0].legend(loc="upper left", bbox_to_anchor=(0.28, 1.0))
    return figure


def _panel(axes: Axes, report: dict[str, Any], budget: float, theme: Theme) -> None:
    as_percent(axes)
    reach: dict[str, list[float]] = {}  # by defence, the ends of its intervals
    for side, (attacker, words) in zip((-1, 1), WORDS.items(), strict=True):
        colour = theme.hues[ATTACKER_HUES[attacker]]
        for number, (name, point) in enumerate(points(report)):
            rows = [
                row
                for row in point["aimed"]
                if row["attacker"] == attacker and row["goal"] in _GOALS and math.isclose(row["epsilon"], budget)
            ]
            evaded, tried = (sum(row[field] for row in rows) for field in ("evaded", "eligible"))
            if not tried:
                continue  # a handful of films, and nothing to hide or invent on any
            low, high = binomtest(evaded, tried).proportion_ci(0.95, "wilson")
            reach.setdefault(name, []).extend((low, high))
            x = point["auroc"]["test"] + side * ASIDE / 2
            label = f"{attacker}: {words}" if number == 0 else None
            axes.plot(x, evaded / tried, MARKERS[attacker], color=colour, ms=6, label=label)
            axes.vlines(x, low, high, color=colour, lw=1.2, alpha=0.75)
    for name, point in points(report):
        if name not in reach:
            continue
        above = max(reach[name]) < ROOM
        axes.annotate(
            name,
            (point["auroc"]["test"], max(reach[name]) if above else min(reach[name])),
            xytext=(0, 5 if above else -5),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
            color=theme.faint,
        )
    areas = [point["auroc"]["test"] for _, point in points(report)]
    axes.set_xlim(min(areas) - 0.003, max(areas) + 0.003)


def write_picture(report: dict[str, Any], to: Path = PICTURE) -> None:
    """Draw in the light theme, as documents are read."""
    with look_of(LIGHT):
        to.write_bytes(png(draw(report, LIGHT)))
