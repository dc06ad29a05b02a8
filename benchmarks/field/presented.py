"""Windows, LUTs and bit depths that do not belong to the pixels: a fault of the sender, and never an attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from app.pipeline import Screener

from .frames import Film
from .posted import answers, counted, png16
from .radiograph import lut, radiograph, stored_12

_WORDS: Final = np.arange(65_536).astype(np.uint16)
_IDENTITY_12: Final = np.arange(4096).astype(np.uint16)

#: By name: how a film of 12 bits is posted.
FAULTS: Final[Mapping[str, Callable[[Film], bytes]]] = MappingProxyType(
    {
        "none: a window as wide as the values": lambda film: radiograph(
            stored_12(film), WindowCenter=2048, WindowWidth=4096
        ),
        "window of a CT, 40 and 400": lambda film: radiograph(stored_12(film), WindowCenter=40, WindowWidth=400),
        "window of 16 bits over values of 12": lambda film: radiograph(
            stored_12(film), WindowCenter=32768, WindowWidth=65536
        ),
        "window far above the values": lambda film: radiograph(stored_12(film), WindowCenter=20000, WindowWidth=2000),
        "window below the values": lambda film: radiograph(
            stored_12(film) + 8192, 14, WindowCenter=500, WindowWidth=1000
        ),
        "window of width 0": lambda film: radiograph(stored_12(film), WindowCenter=2048, WindowWidth=0),
        "window without a width": lambda film: radiograph(stored_12(film), WindowCenter=2048),
        "unknown VOI LUT function": lambda film: radiograph(
            stored_12(film), WindowCenter=2048, WindowWidth=4096, VOILUTFunction="CUBIC"
        ),
        "VOI LUT for 16 bits over values of 12": lambda film: radiograph(
            stored_12(film), VOILUTSequence=lut(0, _WORDS, 16)
        ),
        "VOI LUT of 12-bit entries said to have 16": lambda film: radiograph(
            stored_12(film), VOILUTSequence=lut(0, _IDENTITY_12, 16)
        ),
        "VOI LUT whose first value lies above all": lambda film: radiograph(
            stored_12(film), VOILUTSequence=lut(16_384, _IDENTITY_12, 12)
        ),
        "no window, 12 bits said to be 16": lambda film: radiograph(stored_12(film), 16),
        "PNG of 16 bits with values of 12": lambda film: png16(stored_12(film)),
        "PNG of 16 bits with values of 10": lambda film: png16(stored_12(film) // 4),
        "RescaleSlope 0": lambda film: radiograph(
            stored_12(film), WindowCenter=2048, WindowWidth=4096, RescaleSlope=0, RescaleIntercept=0
        ),
    }
)


def rows(screeners: Mapping[str, Screener], films: list[Film]) -> Iterator[dict[str, Any]]:
    """A row for each fault and bundle."""
    for name, post in FAULTS.items():
        posted = [post(film) for film in films]
        for bundle, screener in screeners.items():
            yield {"fault": name, "bundle": bundle, "outcomes": counted(answers(screener, posted))}
