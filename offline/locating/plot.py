"""Draw the films with box and strongest place. The pictures hold films: view them locally, never commit them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.patches import Rectangle

from app.pipeline.labels import LABELS

from ..data.loading import load_pixels
from ..report.plot_style import canvas, png
from .boxes import ORIGINAL_SIDE
from .locate import Located
from .maps import SERVED
from .measures import on_original

PICTURE: Final = "located.png"
_COLUMNS: Final = 6
_MOST: Final = 48


def draw(located: Sequence[Located], output: Path) -> Path:
    """Up to ``_MOST`` boxes: the film, the box (green where hit, else red), the served map and its strongest place."""
    chosen = list(located)[:_MOST]
    rows = -(-len(chosen) // _COLUMNS)
    figure = canvas(2.2 * _COLUMNS, 2.4 * rows)
    places = np.atleast_1d(figure.subplots(rows, _COLUMNS, squeeze=False)).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, one in zip(places, chosen, strict=False):
        whole = (0, ORIGINAL_SIDE, ORIGINAL_SIDE, 0)
        axes.imshow(load_pixels(one.box.film.path), cmap="gray", extent=whole)
        left, top = on_original((0, 0), one.field)
        right, bottom = on_original((1, 1), one.field)
        shown = one.maps[SERVED]
        if shown.max() > 0:
            axes.imshow(shown / shown.max(), cmap="inferno", alpha=0.35, extent=(left, right, bottom, top))
        place = one.place(SERVED)
        colour = "lime" if one.is_hit(place) else "red"
        box = one.box
        axes.add_patch(
            Rectangle((box.left, box.top), box.right - box.left, box.bottom - box.top, fill=False, edgecolor=colour)
        )
        if place is not None:
            axes.plot(*on_original(place, one.field), "x", color="cyan")
        axes.set_xlim(0, ORIGINAL_SIDE)
        axes.set_ylim(ORIGINAL_SIDE, 0)
        axes.set_title(f"{LABELS[box.finding]} ({box.film.split})", fontsize=7)
    output.mkdir(parents=True, exist_ok=True)
    path = output / PICTURE
    path.write_bytes(png(figure))
    return path
