"""Draw the results of the calls on the test films: ``reliability.png`` and ``calls.png``."""

from __future__ import annotations

from typing import Any, Final

import matplotlib as mpl
import matplotlib.patches
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from ..report.plot_style import LIGHT, as_percent, canvas, look_of, png

_HUES: Final = {"present": "purple", "indeterminate": "ochre", "absent": "grey"}
_COLUMNS: Final = 5


def plots(measured: dict[str, Any]) -> dict[str, bytes]:
    """File name -> PNG, from the results of ``measure_calls``."""
    with look_of(LIGHT):
        return {"reliability.png": png(_reliability(measured)), "calls.png": png(_calls(measured))}


def _reliability(measured: dict[str, Any]) -> Figure:
    """A panel for each finding: share of films with it against mean probability, with 95 % intervals (Wilson)."""
    rows = measured["findings"]
    figure = canvas(11, 7.2)
    panels = list(figure.subplots(-(-len(rows) // _COLUMNS), _COLUMNS, squeeze=False).flat)
    figure.suptitle(
        f"Calibration on {measured['films']} test films, weighted to the stated prevalence. On the line, the "
        "stated probability is the share found",
        x=0.01,
        ha="left",
        fontsize=11,
        fontweight="bold",
    )
    for axes, row in zip(panels, rows, strict=False):
        told = np.array([part["mean"] for part in row["reliability"]])
        share = np.array([part["share"] for part in row["reliability"]])
        low, high = wilson(share, np.array([part["effective_films"] for part in row["reliability"]]))
        top = 1.15 * max(told.max(), share.max(), 0.01)
        axes.plot([0, top], [0, top], color=LIGHT.rule, lw=1.2)
        axes.errorbar(
            told, share, np.maximum([share - low, high - share], 0), fmt="o", ms=4, lw=1, color=LIGHT.hues["blue"]
        )
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_title(f"{row['name'].replace('_', ' ')} ({row['positives']})")
        axes.locator_params(nbins=4)
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    figure.supxlabel("probability told, mean of a fifth of the films", fontsize=9)
    figure.supylabel("share of these films with the finding", fontsize=9)
    return figure


def wilson(share: np.ndarray, films: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share of films; the number of films may be an effective number."""
    z = float(norm.ppf(0.975))
    middle = (share + z**2 / (2 * films)) / (1 + z**2 / films)
    half = z / (1 + z**2 / films) * np.sqrt(share * (1 - share) / films + z**2 / (4 * films**2))
    return middle - half, middle + half


def _calls(measured: dict[str, Any]) -> Figure:
    """How films with each finding, and films without it, are called."""
    rows = [row for row in measured["findings"] if row["called"]][::-1]
    figure = canvas(10, 0.9 + 0.34 * len(rows))
    for axes, group, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("with", "without"),
        ("films with the finding; at the right, how many", "films without it"),
        strict=True,
    ):
        for place, row in enumerate(rows):
            left = 0.0
            for call, share in (row[f"called_of_films_{group}_it"] or {}).items():
                axes.barh(place, share, left=left, color=LIGHT.hues[_HUES[call]], height=0.72)
                if share >= 0.06:
                    axes.text(
                        left + share / 2, place, f"{share:.0%}", ha="center", va="center", color="white", fontsize=8
                    )
                left += share
        as_percent(axes, "x")
        axes.set_title(title)
        axes.grid(visible=False)
        count = "positives" if group == "with" else "negatives"
        for place, row in enumerate(rows):
            axes.text(1.02, place, str(row[count]), va="center", fontsize=8, color=LIGHT.faint)
    figure.axes[0].set_yticks(range(len(rows)), [row["name"].replace("_", " ") for row in rows])
    handles = [mpl.patches.Patch(color=LIGHT.hues[shade], label=call) for call, shade in _HUES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
