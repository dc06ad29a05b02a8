"""Three pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import ScalarFormatter

Pooled = dict[tuple[str, str], dict[str, Any]]
OURS = ("#b2182b", "#ef8a62")
OTHERS = ("#2166ac", "#67a9cf", "#01665e", "#5ab4ac", "#762a83", "#998ec3", "#666666")
MARKS = "osDv^<>Ph"


def draw(result: dict[str, Any], pooled: Pooled, floor_cpu_ms: float, folder: Path) -> None:
    """Write the PNGs into the folder."""
    names = [name for name in result["systems"] if any(key[0] == name for key in pooled)]
    mine = [name for name in names if name in result["ours"]]
    colours = dict(zip(mine, OURS, strict=False))
    colours |= dict(zip([name for name in names if name not in mine], OTHERS, strict=False))
    _by_clients(names, colours, pooled, folder / "answers-by-clients.png")
    _by_load(names, colours, pooled, folder / "latency-by-load.png")
    _cpu(names, colours, pooled, floor_cpu_ms, folder / "cpu-per-request.png")


def _lines(names: list[str], colours: dict[str, str], axis: Any, points: dict[str, list[tuple[float, float]]]) -> None:
    for at, name in enumerate(names):
        if points[name]:
            ours = name.startswith("ours")
            axis.plot(
                *zip(*points[name], strict=True),
                marker=MARKS[at],
                color=colours[name],
                linewidth=2.8 if ours else 1.4,
                zorder=3 if ours else 2,
                label=name,
            )
    axis.grid(alpha=0.3)
    if any(points.values()):
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _by_clients(names: list[str], colours: dict[str, str], pooled: Pooled, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(9, 4.5))
    points = {
        name: [(c, pooled[name, f"closed {c}"]["rate"]) for c in (1, 8, 32, 64) if (name, f"closed {c}") in pooled]
        for name in names
    }
    _lines(names, colours, axis, points)
    axis.set(xscale="log", xlabel="clients, each waiting for its answer", ylabel="correct answers a second")
    axis.set_xticks([1, 8, 32, 64])
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_title("PNG 1024x1024: more is better")
    _save(figure, path)


def _by_load(names: list[str], colours: dict[str, str], pooled: Pooled, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(9, 4.5))
    cells = [f"open {share} %" for share in (50, 80, 120)]
    points = {
        name: [(pooled[name, c]["offered"], pooled[name, c]["p99"]) for c in cells if (name, c) in pooled]
        for name in names
    }
    _lines(names, colours, axis, points)
    axis.set(yscale="log", xlabel="films a second that arrive (50, 80 and 120 % of each system's own peak)")
    axis.set_ylabel("p99 from the scheduled arrival, ms")
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.set_minor_formatter(ScalarFormatter())
    axis.set_title("PNG 1024x1024, Poisson arrivals: lower and further right is better")
    _save(figure, path)


def _cpu(names: list[str], colours: dict[str, str], pooled: Pooled, floor: float, path: Path) -> None:
    cell = "closed 8"
    rows = sorted((pooled[name, cell]["cpu_ms"], name) for name in names if (name, cell) in pooled)
    figure, axis = plt.subplots(figsize=(9, 0.9 + 0.42 * len(rows)))
    bars = axis.barh([name for _, name in rows], [ms for ms, _ in rows], color=[colours[name] for _, name in rows])
    axis.bar_label(bars, fmt="%.0f", padding=3)
    axis.axvline(floor, color="black", linestyle="--", linewidth=1)
    said = f"the pipeline alone, torch on one thread: {floor:.0f}"
    above = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axis.annotate(said, (floor, 1.0), (4, 3), ha="center", fontsize=9, **above)
    axis.invert_yaxis()
    axis.set_xlabel(
        "CPU milliseconds a request, all processes of the service (PNG 1024x1024, 8 clients): less is better"
    )
    _save(figure, path)
