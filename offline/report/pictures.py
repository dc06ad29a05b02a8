"""The paper's Figures 1 and 2a: one film, its attack and both answers; and the network's feature maps of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.pipeline import LABELS

from .plot_style import Theme, canvas

Arrays = Mapping[str, NDArray[Any]]
MAPS: Final = 8


def example(arrays: Arrays, threshold: float | None, theme: Theme, *, show_films: bool) -> Figure | None:
    """Figure 1. Without ``show_films`` the attack and the two answers only: the film may not be ours to publish."""
    clean, attacked = _image(arrays, "example/clean"), _image(arrays, "example/attacked")
    before, after = arrays.get("example/probabilities_clean"), arrays.get("example/probabilities_attacked")
    if clean is None or attacked is None or before is None or after is None:
        return None
    change = attacked - clean
    largest = float(np.abs(change).max())
    images = [("attack, amplified", 0.5 + 0.5 * change / (largest or 1.0))]
    if show_films:
        images = [("clean film", clean), *images, ("attacked film", attacked)]
    figure = canvas(8.8, 5.6 if show_films else 3.7)
    if show_films:
        grid = figure.add_gridspec(2, 3, height_ratios=[1.1, 1.2])
        panels = [figure.add_subplot(grid[0, column]) for column in range(3)]
        answers = figure.add_subplot(grid[1, :])
    else:
        left, answers = figure.subplots(1, 2, width_ratios=[1, 1.5])
        panels = [left]
    for axes, (title, image) in zip(panels, images, strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
        if title.startswith("attack,"):
            axes.text(
                0,
                -0.03,
                f"largest change {255 * largest:.1f} of 255 levels",
                transform=axes.transAxes,
                va="top",
                fontsize=8,
            )
    _answers(answers, np.ravel(before), np.ravel(after), theme)
    answers.set_title(_verdicts(arrays.get("example/scores"), threshold))
    return figure


def _verdicts(scores: NDArray[Any] | None, threshold: float | None) -> str:
    if scores is None or len(scores) < 2 or threshold is None:
        return "the two answers (the gate's are not recorded)"
    words = ["refused" if score < threshold else "accepted" for score in np.ravel(scores)[:2]]
    return f"the gate: clean film {words[0]}, attacked film {words[1]}"


def _answers(axes: Axes, before: NDArray[Any], after: NDArray[Any], theme: Theme) -> None:
    """A row for each finding: from the probability of the clean film to that of the attacked one."""
    names = LABELS if len(before) == len(LABELS) else [f"finding {index + 1}" for index in range(len(before))]
    y = np.arange(len(before))[::-1]
    axes.hlines(y, before, after, color=theme.faint, lw=1)
    axes.plot(before, y, "o", ms=5, color=theme.hues["blue"], label="clean")
    axes.plot(after, y, "^", ms=5.5, color=theme.hues["red"], label="attacked")
    axes.set_yticks(y, [name.replace("_", " ") for name in names], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("probability that the network gives", loc="left")
    # Beside the label of the axis: above, it would lie on a title as long as the panel.
    axes.legend(loc="upper right", bbox_to_anchor=(1, -0.07), ncols=2, borderaxespad=0.1)


def feature_maps(arrays: Arrays, theme: Theme) -> Figure | None:
    """Figure 2a: feature maps of the clean film above those of the attacked one, each pair in one scale."""
    clean, attacked = arrays.get("example/maps_clean"), arrays.get("example/maps_attacked")
    if clean is None or attacked is None or clean.ndim != 3 or clean.shape != attacked.shape or not len(clean):
        return None
    count = min(MAPS, len(clean))
    figure = canvas(8.8, 2.6)
    panels = figure.subplots(2, count, squeeze=False)
    for index in range(count):
        pair = np.stack([clean[index], attacked[index]])
        for axes, image in zip(panels[:, index], pair, strict=True):
            axes.imshow(image, cmap="viridis", vmin=pair.min(), vmax=pair.max(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
    for axes, name in zip(panels[:, 0], ("clean", "attacked"), strict=True):
        axes.set_ylabel(name, color=theme.text)
    return figure


def _image(arrays: Arrays, key: str) -> NDArray[np.float64] | None:
    found = arrays.get(key)
    return None if found is None or found.ndim != 2 else np.asarray(found, dtype=np.float64)
