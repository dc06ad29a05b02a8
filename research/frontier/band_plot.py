"""Accuracy against band against evasion, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from offline.attacks.goals import OPPOSITE
from offline.report.plot_style import LIGHT, Theme, canvas, look_of, png

from .table import BUDGETS, Point, aimed_row, points, share_of

BAND_PICTURE: Final = Path("reports/frontier/bands.png")
#: The attacker who knows everything: of the attackers that are measured on every defence, the one to hold off.
ATTACKER: Final = "selective"
COLOURS: Final = "cividis"  # one that the colour-blind can read


def draw(report: dict[str, Any], theme: Theme) -> Figure:
    """A panel for each budget: band against mean test AUROC; the colour is the share of calls turned, hollow that of none."""
    figure = canvas(9.2, 4.4)
    panels = figure.subplots(1, len(BUDGETS), sharex=True, sharey=True)
    colours = ScalarMappable(Normalize(0, 1), mpl.colormaps[COLOURS])
    measured = [(name, point) for name, point in points(report) if "calls" in point]
    for axes, (budget, word) in zip(panels, BUDGETS, strict=True):
        for name, point in measured:
            _mark(axes, name, point, budget, colours, theme)
        axes.set_title(f"calls turned within {word}")
        axes.set_xlabel("mean AUROC, test films")
        axes.margins(0.25)
    panels[0].set_yscale("log")
    panels[0].set_ylabel("band, mean over findings,\ndeviations of the logit")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    bar = figure.colorbar(colours, ax=panels, format=PercentFormatter(1.0))
    bar.set_label(f"{ATTACKER}: calls turned, of films where one could be")
    return figure


def turned(point: Point, budget: float) -> float | None:
    """The share of calls turned into their opposite, both goals together; None where there was none to turn."""
    rows = [row for wanted in OPPOSITE if (row := aimed_row(point, ATTACKER, wanted.goal, budget))]
    eligible = sum(row["eligible"] for row in rows)
    return sum(row["evaded"] for row in rows) / eligible if eligible else None


def _mark(axes: Axes, name: str, point: Point, budget: float, colours: ScalarMappable, theme: Theme) -> None:
    share = turned(point, budget)
    x, y = point["auroc"]["test"], point["calls"]["band"]["mean"]
    fill = "none" if share is None else colours.to_rgba(np.array([share]))[0]
    axes.plot(x, y, "o", ms=8, markerfacecolor=fill, markeredgecolor=theme.faint)
    axes.annotate(
        f"{name}: {share_of(point['calls']['indeterminate'])} indeterminate",
        (x, y),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
        color=theme.faint,
    )


def write_band_picture(report: dict[str, Any], to: Path = BAND_PICTURE) -> None:
    """Draw in the light theme; nothing where no defence has calls."""
    if any("calls" in point for _, point in points(report)):
        with look_of(LIGHT):
            to.write_bytes(png(draw(report, LIGHT)))
