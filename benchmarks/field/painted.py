"""Round and many-sided collimation that is part of the pixels, and in no header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from app.pipeline import Screener, decode

from .frames import Film, eight_sided, rounded
from .posted import answers, counted, png

#: By name.
PAINTED: Final[Mapping[str, Callable[[Film], Film]]] = MappingProxyType(
    {
        "circle, radius 50 % of the side": lambda film: rounded(film, 0.5),
        "circle, radius 56 %": lambda film: rounded(film, 0.56),
        "circle, radius 62 %": lambda film: rounded(film, 0.62),
        "eight sides, corners of 15 %": lambda film: eight_sided(film, 0.15),
        "eight sides, corners of 25 %": lambda film: eight_sided(film, 0.25),
    }
)


def rows(screeners: Mapping[str, Screener], films: list[Film]) -> Iterator[dict[str, Any]]:
    """A row for each frame and bundle: the answers to the films, and in how many the corners were found."""
    for frame, painted in PAINTED.items():
        posted = [png(painted(film)) for film in films]
        found = sum(bool(decode(film).field.outlines) for film in posted)
        for bundle, screener in screeners.items():
            yield {
                "frame": frame,
                "bundle": bundle,
                "found": found,
                "outcomes": counted(answers(screener, posted)),
            }
