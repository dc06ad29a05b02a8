"""Display shutters of the header: what is seen, and what becomes of spoiled ones."""

from __future__ import annotations

import numpy as np
import pytest

from app.pipeline import decode
from app.pipeline.image import DecodedImage
from benchmarks.field.frames import chest
from tests.support.films import part10

from .films import film

ROWS, COLUMNS = 320, 300
STORED = np.rint(chest(ROWS, COLUMNS) * 4095).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
RECTANGLE = {
    "ShutterLeftVerticalEdge": 21,
    "ShutterRightVerticalEdge": 280,
    "ShutterUpperHorizontalEdge": 31,
    "ShutterLowerHorizontalEdge": 300,
}


def decoded(**tags: object) -> DecodedImage:
    return decode(part10(film(STORED, **WINDOW, **tags)))


def bounds(image: DecodedImage) -> tuple[int, int, int, int]:
    return image.field.top, image.field.left, image.field.bottom, image.field.right


def test_a_rectangular_shutter_is_the_field_its_edges_included() -> None:
    image = decoded(ShutterShape="RECTANGULAR", **RECTANGLE)
    assert bounds(image) == (30, 20, 300, 280)
    assert image.pixels.shape == (ROWS, COLUMNS)  # people are shown the whole film
    assert any("left out" in note for note in image.notes)


def test_a_round_shutter_counts_rows_before_columns_and_from_one() -> None:
    image = decoded(ShutterShape="CIRCULAR", CenterOfCircularShutter=[161, 141], RadiusOfCircularShutter=120)
    assert bounds(image) == (40, 20, 281, 261)
    ((corners),) = image.field.outlines
    distances = [np.hypot(x - 140.5, y - 160.5) for x, y in corners]
    assert min(distances) == pytest.approx(120)
    assert max(distances) == pytest.approx(120)


def test_a_polygon_is_taken_with_its_corners() -> None:
    vertices = [11, 101, 11, 201, 161, 291, 311, 201, 311, 101, 161, 11]
    image = decoded(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=vertices)
    assert bounds(image) == (10, 10, 311, 291)
    assert image.field.outlines[0][0] == (100.5, 10.5)


def test_what_is_seen_lies_within_all_shutters() -> None:
    image = decoded(
        ShutterShape=["RECTANGULAR", "CIRCULAR"],
        **RECTANGLE,
        CenterOfCircularShutter=[161, 141],
        RadiusOfCircularShutter=125,
    )
    assert bounds(image) == (35, 20, 286, 266)


SPOILED: dict[str, dict[str, object]] = {
    "an edge is missing": {"ShutterShape": "RECTANGULAR", **RECTANGLE, "ShutterLeftVerticalEdge": None},
    "edges the wrong way round": {"ShutterShape": "RECTANGULAR", **RECTANGLE, "ShutterRightVerticalEdge": 5},
    "no center": {"ShutterShape": "CIRCULAR", "RadiusOfCircularShutter": 100},
    "no radius": {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [160, 150]},
    "a radius of 0": {
        "ShutterShape": "CIRCULAR",
        "CenterOfCircularShutter": [160, 150],
        "RadiusOfCircularShutter": 0,
    },
    "two vertices": {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 50, 50]},
    "an odd number": {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 50, 50, 90, 90, 1]},
    "a bitmap": {"ShutterShape": "BITMAP"},
    "an unknown shape": {"ShutterShape": "OVAL"},
}


@pytest.mark.parametrize("tags", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_shutter_is_noted_and_not_applied(tags: dict[str, object]) -> None:
    image = decoded(**{keyword: value for keyword, value in tags.items() if value is not None})
    assert image.field.is_whole
    assert any("not applied" in note for note in image.notes)


def test_a_shutter_that_leaves_too_little_is_noted_and_not_applied() -> None:
    image = decoded(ShutterShape="CIRCULAR", CenterOfCircularShutter=[160, 150], RadiusOfCircularShutter=40)
    assert image.field.is_whole
    assert any("too little" in note for note in image.notes)


def test_a_shutter_beyond_the_film_is_none() -> None:
    assert decoded(
        ShutterShape="CIRCULAR", CenterOfCircularShutter=[160, 150], RadiusOfCircularShutter=5000
    ).field.is_whole
