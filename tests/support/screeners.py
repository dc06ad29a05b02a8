"""Screeners that do as they are told, and films that they know again: each has a mark."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.pipeline import LABELS, Screener, Verdict, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.pipeline.errors import BundleError, NumericalError
from app.pipeline.heatmap import Heatmap

#: Where the mark is, (row, column): an image of the network's own size is not resized.
_PLACE: Final = (112, 112)
_HELD_SECONDS: Final = 30.0
Rule = Callable[[list[int]], None]


def picture(mark: int) -> NDArray[np.uint8]:
    """Waves that use the range, in which no line is of one grey, and the grey `mark` at one place; shape (224, 224)."""
    place = np.arange(224)
    greys = np.linspace(0, 255, 224).round().astype(np.uint8)
    waves = greys[(37 * place[:, None] + 61 * place) % 224]
    waves[_PLACE] = mark
    return waves


def marks_of(images: Tensor) -> list[int]:
    """The marks of images, shape (N, 1, 224, 224), in [0, 1]."""
    return [round(float(image[(0, *_PLACE)]) * 255) for image in images]


class ToldScreener:
    """Accepts each film with its mark as log density, and its mark / 255 as every probability.

    It waits while ``gate`` is down. ``rule`` may raise. While it is ``broken`` it fails on everything, the golden outputs too.
    """

    def __init__(
        self,
        rule: Rule = lambda marks: None,
        not_finite: frozenset[int] = frozenset(),
        device: str = "told",
        most_at_once: int | None = None,
        seconds_a_film: float = 0.0,
    ) -> None:
        self.rule = rule
        self.not_finite = not_finite
        self.device = device
        self.most_at_once = most_at_once
        self.seconds_a_film = seconds_a_film
        self.broken = False
        self.golden_error: BundleError | None = None
        #: The marks of what it was given, and of what came to a verdict.
        self.batches: list[list[int]] = []
        self.judged: list[int] = []
        self.released: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def require_golden(self) -> None:
        if self.broken:
            raise BundleError("no such device")
        if self.golden_error:
            raise self.golden_error

    def screen(self, images: Tensor) -> list[Any]:
        marks = marks_of(images)
        self.batches.append(marks)
        self.entered.set()
        assert self.gate.wait(_HELD_SECONDS)
        time.sleep(self.seconds_a_film * len(marks))
        if self.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        self.rule(marks)
        self.judged += marks
        return [
            NumericalError("not finite")
            if mark in self.not_finite
            else Verdict(True, float(mark), np.full(len(LABELS), mark / 255))
            for mark in marks
        ]

    def set_gate_aside(self, image: Tensor) -> NDArray[np.float64]:
        (mark,) = marks_of(image)
        self.released.append(mark)
        return np.full(len(LABELS), mark / 100)


class ServedToldScreener(ToldScreener, Screener):
    """One of a bundle, for the whole service; ``heatmap`` is what it shows."""

    def __init__(self, bundle: Path, seconds_a_film: float = 0.0) -> None:
        served = read_bundle(bundle)
        Screener.__init__(self, served, TorchCpu(served.network))
        ToldScreener.__init__(self, device=self.device, most_at_once=self.most_at_once, seconds_a_film=seconds_a_film)
        self.heatmap: Callable[[], Heatmap] = lambda: Heatmap(np.zeros((7, 7), np.float32), None)

    def explain(self, image: Tensor, finding: int) -> Heatmap:
        return self.heatmap()
