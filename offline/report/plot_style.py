"""The look of the plots: two themes, colours that the colour-blind can tell apart, and labels beside the lines."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

DPI: Final = 144  # twice the size at which the page shows a plot, near enough, so that it is sharp on dense screens


@dataclass(frozen=True)
class Theme:
    """Colours of one theme; ``hues`` are after Okabe and Ito, moved to a contrast of 3:1 at least with the paper."""

    name: str
    paper: str
    text: str
    faint: str
    rule: str
    hues: Mapping[str, str]


LIGHT: Final = Theme(
    "light",
    "#ffffff",
    "#1a2026",
    "#59636e",
    "#d5dae0",
    {
        "blue": "#0066b0",
        "red": "#c8450c",
        "green": "#007d5c",
        "purple": "#a0468f",
        "ochre": "#946c00",
        "sky": "#257aa9",
        "grey": "#6b7480",
    },
)
DARK: Final = Theme(
    "dark",
    "#171b20",
    "#e8ecf0",
    "#a3adb8",
    "#3a424c",
    {
        "blue": "#62aefc",
        "red": "#ff8a55",
        "green": "#3fcf9f",
        "purple": "#e296d3",
        "ochre": "#e3b53a",
        "sky": "#7fd3f7",
        "grey": "#98a2ad",
    },
)
THEMES: Final = (LIGHT, DARK)

ATTACKER_HUES: Final = {
    "selective": "red",
    "orthogonal": "blue",
    "joint": "green",
    "feature-constraint": "purple",
    "minimal": "ochre",
}
MARKERS: Final = {"selective": "o", "orthogonal": "s", "joint": "^", "feature-constraint": "D", "minimal": "v"}
ATTACK_HUES: Final = {"FGSM": "purple", "BIM": "blue", "PGD": "red", "MIM": "green", "minimal": "ochre"}

Draw = Callable[[Theme], Figure | None]


def hue(theme: Theme, name: str, hues: Mapping[str, str]) -> str:
    """The colour of an attacker or attack, the same in every plot; sky if it has no own colour."""
    return theme.hues[next((hues[key] for key in hues if key in name.split()), "sky")]


def attack_style(name: str) -> str:
    """Black-box attacks are dashed and those that stop early dotted, beside the full line of white-box ones."""
    return "--" if name.startswith("black-box") else ":" if name.startswith("minimal") else "-"


def render(draw: Draw) -> tuple[bytes, bytes] | None:
    """PNG in the light and the dark theme; None where there is nothing to draw."""
    images = []
    for theme in THEMES:
        with look_of(theme):
            figure = draw(theme)
            if figure is None:
                return None
            images.append(png(figure))
    return images[0], images[1]


def png(figure: Figure) -> bytes:
    """PNG without the library's version in its metadata, so that the same numbers give the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def canvas(width: float = 8.4, height: float = 3.8) -> Figure:
    """A figure without pyplot, size in inches: pyplot would keep it alive and look for a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_percent(axes: Axes, which: str = "y", low: float = 0.0, high: float = 1.0) -> None:
    """Label an axis in percent, with room for a line that runs along 0 or 100 %."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low >= 0.05 else 1))
    steps = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, min(high, 1.0))
    axis.set_ticks([step for step in steps if low <= step <= min(high, 1.0) + 1e-9])
    margin = 0.03 * (high - low)
    (axes.set_ylim if which == "y" else axes.set_xlim)(low - margin, high + margin)


def label_ends(axes: Axes, ends: list[tuple[float, float, str, str]], gap: float = 0.075) -> None:
    """Name lines at their right ends, (x, y, name, colour); names that would overlap are moved apart.

    ``gap`` is the least distance between names, as a share of the axes' height.
    """
    low, high = axes.get_ylim()
    least = gap * (high - low)
    ordered = sorted(ends, key=lambda end: end[1])
    places: list[float] = []
    for _, y, _, _ in ordered:
        places.append(y if not places else max(y, places[-1] + least))
    # Names have moved upwards only: move those over the top down again.
    ceiling = high
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - least
    for (x, y, name, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.04, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 3},
        )


def look_of(theme: Theme) -> AbstractContextManager[None]:
    """A context with Matplotlib's settings of a theme."""
    settings: dict[Any, Any] = {
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "text.color": theme.text,
        "axes.labelcolor": theme.text,
        "axes.titlecolor": theme.text,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.edgecolor": theme.rule,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.rule,
        "grid.linewidth": 0.6,
        "grid.alpha": 0.6,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.minor.bottom": False,
        "axes.labelsize": 9,
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
    return mpl.rc_context(settings)
