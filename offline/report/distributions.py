"""Plots of scores and features, film by film: ROC curves, histograms of log densities, and t-SNE (Figure 2b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..detectors.measures import detection_auroc
from .plot_style import ATTACK_HUES, Theme, attack_style, canvas, hue
from .reading import PAPER_ATTACKS

Arrays = Mapping[str, NDArray[Any]]

#: t-SNE is quadratic in films, and more dots than these hide one another.
TSNE_FILMS: Final = 120
BINS: Final = 60


def attacks_in(arrays: Arrays, kind: str) -> list[str]:
    """Attacks with scores or features: the paper's first."""
    found = [key.split("/", 1)[1] for key in arrays if key.startswith(f"{kind}/") and len(arrays[key])]
    found = [name for name in found if name not in ("val", "test", "train")]
    return [name for name in PAPER_ATTACKS if name in found] + sorted(set(found) - set(PAPER_ATTACKS))


def roc(arrays: Arrays, target: float | None, theme: Theme) -> Figure | None:
    """Attacked films caught against clean test films refused: at all thresholds, and at those that a gate would use."""
    clean, names = _finite(arrays, "scores/test"), attacks_in(arrays, "scores")
    if not len(clean) or not names:
        return None
    figure = canvas(8.8, 3.7)
    whole, near = figure.subplots(1, 2)
    curves = []
    for name in names:
        attacked = _finite(arrays, f"scores/{name}")
        if not len(attacked):
            continue
        # The gate refuses scores strictly under the threshold, so ties of clean and attacked films move together.
        cuts = np.append(np.unique(np.concatenate([clean, attacked])), np.inf)
        x = np.searchsorted(np.sort(clean), cuts) / len(clean)
        y = np.searchsorted(np.sort(attacked), cuts) / len(attacked)
        curves.append((detection_auroc(clean, attacked), name, x, y))
    handles = {}
    for area, name, x, y in curves:
        for axes in (whole, near):
            (handles[f"{name}  {area:.3f}"],) = axes.plot(
                x, y, color=hue(theme, name, ATTACK_HUES), ls=attack_style(name), lw=1.6
            )
    whole.plot([0, 1], [0, 1], color=theme.faint, lw=0.8)
    whole.annotate("chance", (0.62, 0.58), color=theme.faint, fontsize=8.5)
    for axes, right in ((whole, 1.0), (near, 0.1)):
        axes.set_xlim(-0.01 * right, right)
        axes.set_ylim(-0.02, 1.03)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("clean test films refused")
        if target is not None:
            axes.axvline(target, color=theme.text, lw=1, ls="--")
    if target is not None:
        near.annotate(f" target {target:.0%}", (target, 0.02), fontsize=8.5)
    whole.set_ylabel("attacked films caught")
    whole.set_title("all thresholds")
    near.set_title("the thresholds that a gate would use")
    figure.legend(handles.values(), handles.keys(), loc="outside right center", title="attack, area", alignment="left")
    return figure


def histograms(arrays: Arrays, threshold: float | None, theme: Theme) -> Figure | None:
    """Log densities of clean and attacked films around the threshold, one strip for each kind."""
    strips: list[tuple[str, NDArray[np.float64], str | None]] = [
        (label, values, None)
        for label, key in (("clean, held out", "scores/val"), ("clean, test", "scores/test"))
        if len(values := _finite(arrays, key))
    ]
    strips += [
        (name, values, name)
        for name in attacks_in(arrays, "scores")
        if len(values := _finite(arrays, f"scores/{name}"))
    ]
    if not strips:
        return None
    clean = [values for _, values, attack in strips if attack is None] or [values for _, values, _ in strips]
    every_clean = np.concatenate(clean)
    centre = float(np.median(every_clean)) if threshold is None else threshold
    # Attacked films lie orders of magnitude below clean ones: linear near the threshold, logarithmic far from it.
    scale = max(float(np.subtract(*np.percentile(every_clean, [75, 25]))), 1e-6)
    low = float(np.arcsinh((min(values.min() for _, values, _ in strips) - centre) / scale))
    high = float(np.arcsinh((max(values.max() for _, values, _ in strips) - centre) / scale))
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    figure = canvas(8.4, 0.8 + 0.5 * len(strips))
    panels = figure.subplots(len(strips), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, values, attack) in zip(panels, strips, strict=True):
        colour = theme.hues["grey"] if attack is None else hue(theme, attack, ATTACK_HUES)
        counts, _ = np.histogram(np.arcsinh((values - centre) / scale), edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
        axes.set_yticks([])
        axes.tick_params(axis="x", length=3 if axes is panels[-1] else 0)
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", color=theme.text)
        if threshold is not None:
            axes.axvline(0, color=theme.text, lw=1, ls="--")
            axes.annotate(
                f"{np.mean(values < threshold):.1%} refused",
                (1.01, 0.3),
                xycoords="axes fraction",
                fontsize=8.5,
                annotation_clip=False,
            )
    if threshold is not None:
        panels[0].annotate(
            "threshold",
            (0, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
        )
    _nats(panels[-1], low, high, scale)
    panels[-1].set_xlabel(
        "log density, nats above the " + ("median of clean films" if threshold is None else "threshold")
    )
    return figure


def _nats(axes: Any, low: float, high: float, scale: float) -> None:
    """Ticks at powers of ten either side of the centre, as the arcsinh scale places them."""
    decades = [10.0**power for power in range(-6, 13) if 10.0**power >= scale * 0.3]
    ticks = [0.0, *decades, *(-decade for decade in decades)]
    placed = sorted(
        (float(np.arcsinh(tick / scale)), tick) for tick in ticks if low <= np.arcsinh(tick / scale) <= high
    )
    axes.set_xticks([place for place, _ in placed], [f"{tick:+,.0f}" if tick else "0" for _, tick in placed])


Places = Mapping[str, NDArray[np.float64]]


def embed(arrays: Arrays, seed: int) -> Places | None:
    """t-SNE of all films' features in one embedding: places (n, 2) by attack; "test" holds the clean films."""
    names = attacks_in(arrays, "features")
    clean = arrays.get("features/test")
    if clean is None or len(clean) < 5 or not names:
        return None
    parts = {name: _thinned(arrays[f"features/{name}"]) for name in ("test", *names)}
    stacked = np.concatenate(list(parts.values())).astype(np.float64)
    n, width = stacked.shape
    # Fifty components carry what t-SNE can show, in a tenth of the time of a thousand.
    reduced = PCA(min(50, n, width), random_state=seed).fit_transform(stacked)
    placed = TSNE(2, init="pca", perplexity=min(30.0, (n - 1) / 3), random_state=seed).fit_transform(reduced)
    bounds = np.cumsum([len(part) for part in parts.values()])[:-1]
    return dict(zip(parts, np.split(placed.astype(np.float64), bounds), strict=True))


def tsne(places: Places, theme: Theme) -> Figure:
    """Figure 2b: a panel for each attack beside the same clean films."""
    names = [name for name in places if name != "test"]
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = canvas(8.8, 0.4 + 2.3 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        colour = hue(theme, name, ATTACK_HUES)
        axes.scatter(*places["test"].T, s=9, color=theme.hues["grey"], alpha=0.7, lw=0)
        axes.scatter(*places[name].T, s=11, color=colour, alpha=0.85, lw=0, marker="^")
        axes.set_title(name, color=colour)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(True)
    return figure


def _thinned(features: NDArray[Any]) -> NDArray[Any]:
    """Evenly spaced films, the same for every attack, since row i is the same film."""
    index = np.unique(np.linspace(0, len(features) - 1, min(len(features), TSNE_FILMS)).astype(int))
    thinned: NDArray[Any] = features[index]
    return thinned


def _finite(arrays: Arrays, key: str) -> NDArray[np.float64]:
    values = np.asarray(arrays.get(key, ()), dtype=np.float64)
    return values[np.isfinite(values)]
