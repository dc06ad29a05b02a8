"""``BBox_List_2017`` of ChestX-ray14 (Wang et al., CVPR 2017): boxes that radiologists drew, on the available films."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.pipeline.labels import LABELS

from ..data.films import Film, FilmsError

#: Boxes are in pixels of the original films, which have this many a side; an available film may be a reduced copy of one.
ORIGINAL_SIDE: Final = 1024
#: The list's name of a finding -> ours.
_OTHER_NAMES: Final = {"Infiltrate": "Infiltration"}


@dataclass(frozen=True)
class Box:
    """A finding on a film; left, top, right, bottom are in pixels of the original, half open."""

    film: Film
    finding: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def read_boxes(table: Path, films: list[Film]) -> list[Box]:
    """The boxes of these films: columns image, finding, x, y, width, height, below a line of names.

    The NIH's file names its columns ``Image Index,Finding Label,Bbox [x,y,w,h],,,``, so they are taken by their order.

    Raises
    ------
    FilmsError
        There is no such table, a line cannot be used, or none of the films has a box.
    """
    if not table.is_file():
        raise FilmsError(f"{table} is not there; name the NIH's list of boxes (BBox_List_2017.csv) with --boxes")
    known = {film.path.name: film for film in films}
    boxes = []
    with table.open(newline="") as stream:
        lines = csv.reader(stream)
        next(lines, None)
        for number, line in enumerate(lines, start=2):
            if line and line[0] in known:
                boxes.append(_box(known[line[0]], line, f"{table}, line {number}"))
    if not boxes:
        raise FilmsError(
            f"{table} has no box on any of the {len(films)} films; its first column must hold their file names"
        )
    return boxes


def _box(film: Film, line: list[str], where: str) -> Box:
    if len(line) < 6:
        raise FilmsError(f"{where}: has {len(line)} columns; it needs image, finding, x, y, width, height")
    name = _OTHER_NAMES.get(line[1], line[1])
    if name not in LABELS:
        raise FilmsError(f"{where}: unknown finding '{line[1]}'; known are {', '.join(LABELS)}")
    try:
        left, top, width, height = (float(value) for value in line[2:6])
    except ValueError as error:
        raise FilmsError(f"{where}: x, y, width and height must be numbers") from error
    right, bottom = left + width, top + height
    if not all(map(math.isfinite, (left, top, right, bottom))) or width <= 0 or height <= 0:
        raise FilmsError(f"{where}: the box has no area")
    if left < 0 or top < 0 or right > ORIGINAL_SIDE + 1 or bottom > ORIGINAL_SIDE + 1:
        raise FilmsError(
            f"{where}: the box leaves the film; boxes are in pixels of the {ORIGINAL_SIDE}x{ORIGINAL_SIDE} originals"
        )
    return Box(film, LABELS.index(name), left, top, right, bottom)
