"""The picture of a recalibration: log densities of clean and attacked films around the threshold, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from ..report.plot_style import ATTACK_HUES, LIGHT, Theme, canvas, hue, look_of, png
from .compare import GateJudgement

BINS: Final = 50
#: Nats, at which the axis turns from linear to logarithmic: attacked films lie orders of magnitude below clean ones.
LINEAR: Final = 100.0


def plot(gates: Mapping[str, GateJudgement]) -> bytes:
    """PNG with a column for each gate and a strip for each kind of film."""
    with look_of(LIGHT):
        return png(_drawn(gates, LIGHT))


def _drawn(gates: Mapping[str, GateJudgement], theme: Theme) -> Figure:
    scores = {name: {"clean": gate.clean, **gate.attacked} for name, gate in gates.items()}
    kinds = list(next(iter(scores.values())))
    figure = canvas(8.8, 0.9 + 0.45 * len(kinds))
    panels = figure.subplots(len(kinds), len(scores), sharex=True, squeeze=False)
    placed = {
        (name, kind): np.arcsinh((values - gates[name].threshold) / LINEAR)
        for name, by_kind in scores.items()
        for kind, values in by_kind.items()
    }
    low, high = min(map(np.min, placed.values())), max(map(np.max, placed.values()))
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    for column, gate in enumerate(scores):
        for axes, kind in zip(panels[:, column], kinds, strict=True):
            colour = theme.hues["grey"] if kind == "clean" else hue(theme, kind, ATTACK_HUES)
            axes.hist(placed[gate, kind], edges, color=colour, alpha=0.85)
            axes.axvline(0, color=theme.text, lw=1, ls="--")
            axes.set_yticks([])
            axes.grid(False)
            axes.spines["left"].set_visible(False)
            refused = float((scores[gate][kind] < gates[gate].threshold).mean())
            axes.annotate(f"{refused:.0%} refused", (1.0, 0.6), xycoords="axes fraction", ha="right", fontsize=8.5)
            if column == 0:
                axes.set_ylabel(kind, rotation=0, ha="right", va="center", color=theme.text)
        panels[0, column].set_title(gate)
        panels[-1, column].set_xlabel("log density, nats above the threshold")
        ticks = [
            tick for tick in (-100_000, -10_000, -1000, -100, 0, 100, 1000) if low <= np.arcsinh(tick / LINEAR) <= high
        ]
        panels[-1, column].set_xticks(
            [np.arcsinh(tick / LINEAR) for tick in ticks], [f"{tick:+,}" if tick else "0" for tick in ticks]
        )
    return figure
