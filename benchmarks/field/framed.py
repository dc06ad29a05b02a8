"""Clean films in frames: how many are called adversarial, how far a frame moves a probability, and whether it turns a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from app.pipeline import Screener

from . import radiograph
from .frames import Film, barred, bordered, collimated
from .posted import JudgedPost, answers, counted, png

Post = Callable[[Film], bytes]


def _png_of(frame: Callable[[Film], Film]) -> Post:
    return lambda film: png(frame(film))


#: By name: how a film is posted; and which other one it is compared with.
FRAMES: Final[Mapping[str, tuple[Post, str]]] = MappingProxyType(
    {
        "none": (png, "none"),
        "border, 10 pixels, black": (_png_of(lambda film: bordered(film, 10, 0.0)), "none"),
        "border, 10 pixels, white": (_png_of(lambda film: bordered(film, 10, 1.0)), "none"),
        "border, 10 pixels, grey": (_png_of(lambda film: bordered(film, 10, 0.5)), "none"),
        "bars beside it, 5 % each": (_png_of(lambda film: barred(film, 0.05, 0.0, 1)), "none"),
        "letterbox, bars of 20 %": (_png_of(lambda film: barred(film, 0.2, 0.0, 0)), "none"),
        "collimated by 4 %": (_png_of(lambda film: collimated(film, 0.04)), "none"),
        "collimated by 4 %, scattered rays": (
            _png_of(lambda film: collimated(film, 0.04, grey=0.03, grain=0.006)),
            "none",
        ),
        "collimated by 6 %, turned by 2 degrees": (_png_of(lambda film: collimated(film, 0.06, degrees=2)), "none"),
        "DICOM": (
            lambda film: radiograph.radiograph(radiograph.stored_12(film), WindowCenter=2048, WindowWidth=4096),
            "DICOM",
        ),
        "DICOM, padding of 5 %": (lambda film: radiograph.padded(film, 0.05), "DICOM"),
        **{
            f"DICOM, {shape.lower()} shutter, {'black beyond it' if black else 'film beyond it'}": (
                lambda film, shape=shape, black=black: radiograph.shuttered(film, shape, blackened=black),
                "DICOM",
            )
            for shape in ("RECTANGULAR", "CIRCULAR", "POLYGONAL")
            for black in (True, False)
        },
    }
)


def rows(screeners: Mapping[str, Screener], films: list[Film]) -> Iterator[dict[str, Any]]:
    """A row for each frame and bundle."""
    plain: dict[tuple[str, str], list[JudgedPost]] = {}
    for name, (post, compared_with) in FRAMES.items():
        posted = [post(film) for film in films]
        for bundle, screener in screeners.items():
            found = answers(screener, posted)
            plain.setdefault((bundle, name), found)
            yield {
                "frame": name,
                "bundle": bundle,
                "films": len(films),
                **_compared(screener, plain[bundle, compared_with], found),
            }


def _compared(screener: Screener, before: list[JudgedPost], after: list[JudgedPost]) -> dict[str, Any]:
    changes, turned = [], 0
    for one, other in zip(before, after, strict=True):
        if one.probabilities is not None and other.probabilities is not None:
            changes.append(float(np.abs(one.probabilities - other.probabilities).max()))
            calls = zip(*(screener.bundle.calls.words(each.probabilities) for each in (one, other)), strict=True)
            turned += any({*pair} == {"present", "absent"} for pair in calls)
    return {
        "outcomes": counted(after),
        "films_with_a_call_turned": turned,
        "change_median": float(np.median(changes)) if changes else None,
        "change_p95": float(np.quantile(changes, 0.95)) if changes else None,
    }
