"""What the exposed field and the check of content cost, beside decoding, resizing and the network: CPU time of one thread.

More threads wait for each other, on a busy machine for long, and their waiting counts as CPU time of the network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch

from app.pipeline import Screener, decode, film_tensor, to_tensor
from app.pipeline.exposed_field import cut_out, find_field

from .frames import Film, bordered, collimated
from .posted import png
from .radiograph import radiograph

REPEATS: Final = 7


def rows(screeners: Mapping[str, Screener], films: list[Film]) -> Iterator[dict[str, Any]]:
    """A row for each stage of several kinds of films, and bundle."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for bundle, screener in screeners.items():
            for row in _rows(screener, films):
                yield {"bundle": bundle, **row}
    finally:
        torch.set_num_threads(threads)


def _rows(screener: Screener, films: list[Film]) -> Iterator[dict[str, Any]]:
    plates = [np.kron(film, np.ones((4, 4), np.float32)) for film in films[:4]]
    kinds: dict[str, list[bytes]] = {
        "PNG 512x512": [png(film) for film in films],
        "PNG 512x512 in a border": [png(bordered(film, 10, 0.0)) for film in films],
        "PNG 512x512, collimated and turned": [png(collimated(film, 0.06, degrees=2)) for film in films],
        "raw DICOM 2048x2048": [
            radiograph(np.rint(plate * 4095).astype(np.uint16), WindowCenter=2048, WindowWidth=4096) for plate in plates
        ],
    }
    for kind, posted in kinds.items():
        images = [decode(film) for film in posted]
        tensors = [film_tensor(image) for image in images]
        # It is found while a film is decoded, and cut out before it is resized.
        found = _seconds(lambda images=images: [find_field(image.pixels) for image in images])
        cut = _seconds(lambda images=images: [cut_out(image.pixels, image.field) for image in images])
        stages = {
            "decoding": _seconds(lambda posted=posted: [decode(film) for film in posted]) - found,
            "exposed field": found + cut,
            "resizing": _seconds(lambda images=images: [to_tensor(image.pixels) for image in images]),
            "network, gate and check": _seconds(lambda tensors=tensors: [screener.screen(one) for one in tensors]),
        }
        stages["of these, check of content"] = _seconds(
            lambda tensors=tensors: [screener.bundle.content.faults(one.numpy(), [None]) for one in tensors]
        )
        total = sum(seconds for stage, seconds in stages.items() if not stage.startswith("of these"))
        for stage, seconds in stages.items():
            yield {"film": kind, "stage": stage, "milliseconds": 1e3 * seconds / len(posted), "share": seconds / total}


def _seconds(work: Callable[[], object]) -> float:
    """Median CPU seconds."""
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return statistics.median(spent[1:])
