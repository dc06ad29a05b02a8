"""What becomes of posted bytes, by the service's own stages."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app.pipeline import Screener, Verdict, decode, film_tensor
from app.pipeline.errors import InputError, UnsuitableImage

from .frames import Film

Outcome = Literal["accepted", "adversarial", "unsuitable", "other error"]
BATCH: Final = 8


@dataclass(frozen=True)
class JudgedPost:
    """The answer that a sender gets.

    Attributes
    ----------
    outcome : Outcome
        ``unsuitable`` is 400 unsuitable-image.
    probabilities : ndarray, shape (L,), float64, or None
    message : str
        Of an error.
    """

    outcome: Outcome
    probabilities: NDArray[np.float64] | None = None
    message: str = ""


def answers(screener: Screener, films: Iterable[bytes]) -> list[JudgedPost]:
    """Decode and judge films, in their order."""
    told: list[JudgedPost | None] = []
    waiting: list[tuple[int, torch.Tensor]] = []

    def judge() -> None:
        if not waiting:
            return
        verdicts = screener.screen(torch.cat([tensor for _, tensor in waiting]))
        for (place, _), verdict in zip(waiting, verdicts, strict=True):
            told[place] = _answer(verdict)
        waiting.clear()

    for film in films:
        told.append(None)
        try:
            waiting.append((len(told) - 1, film_tensor(decode(film))))
        except InputError as error:
            told[-1] = _answer(error)
        if len(waiting) == BATCH:
            judge()
    judge()
    return [one for one in told if one is not None]


def _answer(verdict: Verdict | Exception) -> JudgedPost:
    if isinstance(verdict, UnsuitableImage):
        return JudgedPost("unsuitable", message=str(verdict))
    if isinstance(verdict, Exception):
        return JudgedPost("other error", message=str(verdict))
    return JudgedPost("accepted" if verdict.accepted else "adversarial", verdict.probabilities)


def counted(found: Iterable[JudgedPost]) -> dict[str, int]:
    """How many came to each outcome; what came to none is left out."""
    return dict(Counter(answer.outcome for answer in found))


def test_films(folder: Path, count: int) -> list[Film]:
    """Test films at their own size, evenly spread over the sorted names."""
    with (folder / "chest_xrays" / "labels.csv").open() as table:
        names = sorted(row["Image Index"] for row in csv.DictReader(table) if row["split"] == "test")
    places = np.linspace(0, len(names) - 1, count).round().astype(int)
    paths = [folder / "chest_xrays" / "images" / names[place] for place in places]
    return [np.asarray(Image.open(path).convert("L"), np.float32) / np.float32(255) for path in paths]


def png(film: Film) -> bytes:
    """As an 8-bit PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.rint(film * 255).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def png16(stored: NDArray[np.integer]) -> bytes:
    """As a 16-bit PNG of stored values."""
    stream = io.BytesIO()
    Image.fromarray(stored.astype(np.uint16)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
