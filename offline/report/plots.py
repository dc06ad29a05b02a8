"""Plots of the evaluation's rates. Each draws in a theme and returns None where nothing was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..attacks.goals import AT_POINT, EVERY_CALL
from .plot_style import ATTACKER_HUES, MARKERS, Theme, as_percent, canvas, hue, label_ends
from .reading import AimedRow, CurveRow, Evaluation, RefusalRow, goal_in_words
from .words import of, strength, text

_ORDER = [goal_in_words(*wanted) for wanted in (*EVERY_CALL, *AT_POINT)]


def attackers(evaluation: Evaluation, theme: Theme) -> Figure | None:
    """Evasion against epsilon: a panel for each goal, finding and size posted, a line for each attacker."""
    measured = [row for row in evaluation.aware if (row.epsilon or 0) > 0 and row.evasion_rate.value is not None]
    if not measured:
        return None
    of_panel: dict[tuple[int, str], list[AimedRow]] = {}
    for row in measured:
        of_panel.setdefault((row.size or 0, row.wanted), []).append(row)
    lines = [found for size in sorted({size for size, _ in of_panel}) for found in _lines_of(of_panel, size)]
    figure = canvas(8.8, 0.5 + 3.3 * len(lines))
    panels = figure.subplots(len(lines), max(len(line) for line in lines), sharey=True, squeeze=False)
    epsilons = sorted({row.epsilon or 0.0 for row in measured})
    for places, line in zip(panels, lines, strict=True):
        for axes in places[len(line) :]:
            axes.set_visible(False)
        for axes, (size, goal) in zip(places, line, strict=False):
            _attacker_panel(axes, of_panel[size, goal], epsilons, theme)
            axes.set_title(
                f"{goal}, posted at {size} pixels" if size else goal, fontsize=9.5 if len(goal) > 20 else None
            )
    for axes in panels[:, 0]:
        axes.set_ylabel("evaded the gate")
    for axes in panels[-1]:
        axes.set_xlabel("epsilon: most that a pixel may change")
    return figure


def _lines_of(panels: Iterable[tuple[int, str]], size: int) -> list[list[tuple[int, str]]]:
    """The panels of one size, two goals that belong together in a line."""
    found = sorted(panel for panel in panels if panel[0] == size)
    found.sort(key=lambda panel: _ORDER.index(panel[1]) if panel[1] in _ORDER else len(_ORDER))
    return [found[start : start + 2] for start in range(0, len(found), 2)]


def _attacker_panel(axes: Axes, chosen: list[AimedRow], epsilons: list[float], theme: Theme) -> None:
    axes.set_xscale("log")
    as_percent(axes)
    lines = sorted({(text(row.attacker), row.informed is True) for row in chosen})
    ends = []
    for index, (attacker, informed) in enumerate(lines):
        of_line = [row for row in chosen if text(row.attacker) == attacker and (row.informed is True) == informed]
        of_line.sort(key=lambda row: row.epsilon or 0.0)
        # Moved aside by some percent, so that intervals of lines at 100 % do not hide one another.
        x = np.array([row.epsilon for row in of_line], np.float64) * 1.04 ** (index - (len(lines) - 1) / 2)
        measures = [(row.evasion_rate.value, row.evasion_rate.low, row.evasion_rate.high) for row in of_line]
        y, low, high = np.array(measures, np.float64).T  # None is NaN, which is not drawn
        colour = hue(theme, attacker, ATTACKER_HUES)
        dashes = "-" if informed else "--"
        axes.plot(x, y, marker=MARKERS.get(attacker, "P"), ms=4.5, color=colour, lw=1.6, ls=dashes)
        axes.vlines(x, low, high, color=colour, lw=1.1, alpha=0.75)
        ends.append((float(x[-1]), float(y[-1]), attacker if informed else f"{attacker}\n(gate unknown)", colour))
    axes.set_xticks(epsilons, [strength(epsilon) for epsilon in epsilons], rotation=35 if len(epsilons) > 3 else 0)
    axes.minorticks_off()
    axes.set_xlim(epsilons[0] / 1.2, epsilons[-1] * 1.2)
    label_ends(axes, ends, gap=0.11)


def refusals(rows: Sequence[RefusalRow], target: float | None, theme: Theme, *, ranked: bool) -> Figure | None:
    """Clean films refused, a bar for each change or group, with intervals and the line of the target."""
    measured = [row for row in rows if row.false_rejection_rate.value is not None]
    if not measured:
        return None
    if ranked:
        measured.sort(key=lambda row: row.false_rejection_rate.value or 0, reverse=True)
    figure = canvas(8.4, 0.9 + 0.29 * len(measured))
    axes = figure.subplots()
    y = np.arange(len(measured))[::-1]
    values = [row.false_rejection_rate for row in measured]
    # Beyond chance: the whole interval lies over the target.
    over = [target is not None and value.low is not None and value.low > target for value in values]
    colours = [theme.hues["red"] if bad else theme.hues["blue"] for bad in over]
    axes.barh(y, [value.value or 0.0 for value in values], color=colours, height=0.62, alpha=0.85)
    for place, value, row in zip(y, values, measured, strict=True):
        high = (value.value or 0.0) if value.high is None else value.high
        if value.low is not None:
            axes.hlines(place, value.low, high, color=theme.text, lw=1.2)
        label = f"{value.value or 0:.1%}  ({of(row.rejected, row.films)})"
        axes.annotate(label, (high, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(y, [text(row.name) for row in measured])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    top = max((value.high or value.value or 0.0) for value in values)
    as_percent(axes, "x", 0.0, max(top * 1.25, 0.1))
    axes.set_xlim(left=0)
    axes.set_ylim(-0.7, len(measured) - 0.3)
    axes.set_xlabel("clean films refused")
    if target is not None:
        axes.axvline(target, color=theme.text, lw=1, ls="--")
        axes.annotate(
            f"target {target:.0%}",
            (target, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    return figure


def learning_curve(evaluation: Evaluation, theme: Theme) -> Figure | None:
    """False rejection and detection of the hardest attack against the number of fitting films."""
    points = [point for point in evaluation.learning_curve if point.n is not None]
    if not points:
        return None
    names = list(dict.fromkeys(text(point.detector) for point in points))
    hardest = hardest_attack(points)
    figure = canvas(8.8, 3.4)
    left, right = figure.subplots(1, 2)
    refused = _means(left, points, names, theme, lambda point: point.false_rejection_rate)
    target = evaluation.gate.target
    as_percent(left, high=max(0.1, 1.15 * refused))
    left.set_title("clean films refused")
    if target is not None:
        left.axhline(target, color=theme.text, lw=1, ls="--")
        left.annotate(
            f"target {target:.0%}",
            (0.01, target - 0.004 * max(0.1, refused) / 0.1),
            xycoords=("axes fraction", "data"),
            va="top",
            fontsize=8.5,
        )
    if hardest is None:
        right.set_visible(False)
    else:
        _means(right, points, names, theme, lambda point: point.detection_rate.get(hardest))
        as_percent(right)
        right.set_title(f"detected of {hardest}, the hardest")
    for axes in (left, right):
        axes.set_xlabel("clean films to fit on")
        axes.set_xscale("log")
        sizes = sorted({point.n or 0 for point in points})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=35 if len(sizes) > 5 else 0)
        axes.minorticks_off()
    handles = [left.plot([], [], color=_detector_hue(theme, index), lw=1.8)[0] for index in range(len(names))]
    figure.legend(handles, names, loc="outside upper right", ncols=len(names))
    return figure


def hardest_attack(points: Sequence[CurveRow]) -> str | None:
    """The attack detected least over the whole learning curve."""
    rates: dict[str, list[float]] = {}
    for point in points:
        for name, value in point.detection_rate.items():
            if value is not None:
                rates.setdefault(name, []).append(value)
    return min(rates, key=lambda name: sum(rates[name]) / len(rates[name]), default=None)


def _means(
    axes: Axes, points: list[CurveRow], names: list[str], theme: Theme, measure: Callable[[CurveRow], float | None]
) -> float:
    """A line through the means over seeds, and a dot for each seed; returns the highest value."""
    highest = 0.0
    for index, name in enumerate(names):
        values: dict[int, list[float]] = {}
        for point in points:
            value = measure(point)
            if text(point.detector) == name and value is not None:
                values.setdefault(point.n or 0, []).append(value)
        sizes = sorted(values)
        if not sizes:
            continue
        colour = _detector_hue(theme, index)
        axes.plot(sizes, [float(np.mean(values[size])) for size in sizes], color=colour, lw=1.8)
        for size in sizes:
            axes.plot([size] * len(values[size]), values[size], "o", ms=3.5, color=colour, alpha=0.6, mew=0)
        highest = max(highest, *(value for group in values.values() for value in group))
    return highest


def _detector_hue(theme: Theme, index: int) -> str:
    return list(theme.hues.values())[index % len(theme.hues)]
