"""Answers say which part of a film was judged: to the pixel, in JSON and in the header of a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.pipeline import Screener, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from tests.support.films import dicom, encoded, pixels, png
from tests.support.reviewing import Site, keeping_here
from tests.support.served import Served, assert_accepted, assert_problem

DICOM = "application/dicom"
#: Columns and rows of a border that is not the same on any two sides.
TOP, LEFT, BOTTOM, RIGHT = 30, 20, 10, 40
SIDE = 256
FIELD = {
    "rows": TOP + SIDE + BOTTOM,
    "columns": LEFT + SIDE + RIGHT,
    "top": TOP,
    "left": LEFT,
    "bottom": TOP + SIDE,
    "right": LEFT + SIDE,
    "outlines": [],
}


def in_a_border(seed: int = 0) -> bytes:
    """A film of greys from 16 to 255 in a black border."""
    film = np.maximum(pixels(seed, SIDE), 16)
    return encoded(Image.fromarray(np.pad(film, ((TOP, BOTTOM), (LEFT, RIGHT)))))


def header_of(served: Served, film: bytes, kind: str = "image/png") -> dict[str, Any]:
    answer = served.client.post("/v1/decode", content=film, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    told = answer.headers["x-exposed-field"]
    assert len(told) < 4096  # what a proxy takes for all headers
    field: dict[str, Any] = json.loads(told)
    with Image.open(io.BytesIO(answer.content)) as picture:  # the whole film
        assert picture.size == (field["columns"], field["rows"])
    return field


def test_the_field_of_a_bordered_film_is_exact(service: Served) -> None:
    film = in_a_border()
    answer = assert_accepted(service.post(film))
    assert answer["exposed_field"] == FIELD
    assert any("30 at the top, 20 at the left, 10 at the bottom, 40 at the right" in note for note in answer["notes"])
    assert header_of(service, film) == FIELD


def test_a_film_without_a_border_is_judged_whole(service: Served) -> None:
    whole = {"rows": SIDE, "columns": SIDE, "top": 0, "left": 0, "bottom": SIDE, "right": SIDE, "outlines": []}
    answer = assert_accepted(service.post(png()))
    assert (answer["exposed_field"], answer["notes"]) == (whole, [])
    assert header_of(service, png()) == whole


def test_the_sender_of_a_rejected_film_may_see_what_was_judged(rejecting: Served) -> None:
    assert_problem(rejecting.post(in_a_border()), 422)
    assert header_of(rejecting, in_a_border()) == FIELD


def test_a_shutter_of_very_many_corners_is_whole_in_json_and_thinned_in_the_header(service: Served) -> None:
    angles = np.arange(1000) / 1000 * 2 * np.pi
    corners = np.column_stack([128.5 + 120 * np.sin(angles), 128.5 + 110 * np.cos(angles)])  # row, column, from 1
    film = dicom(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=corners.round().astype(int).ravel().tolist())
    field = assert_accepted(service.post(film, DICOM))["exposed_field"]
    (outline,) = field["outlines"]
    np.testing.assert_allclose(outline, corners[:, ::-1].round() - 0.5, atol=0.051)
    thinned = header_of(service, film, DICOM)
    (left,) = thinned.pop("outlines")
    assert 100 < len(left) < 200
    assert area(left) == pytest.approx(area(outline), rel=0.01)
    del field["outlines"]
    assert thinned == field


def area(corners: list[list[float]]) -> float:
    x, y = np.array(corners).T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def test_a_kept_film_and_its_late_result_say_it_too(tmp_path: Path, rejecting_bundle: Path) -> None:
    bundle = read_bundle(rejecting_bundle)
    with keeping_here(Site.make(tmp_path), Screener(bundle, TorchCpu(bundle.network))) as kept:
        film = kept.reject(in_a_border())
        shown = kept.get(f"/v1/quarantine/{film}/film")
        assert json.loads(shown.headers["x-exposed-field"]) == FIELD
        assert "x-exposed-field" not in kept.get(f"/v1/quarantine/{film}/film?original=true").headers
        assert kept.decide(film, "release").status_code == 200
        assert kept.get(f"/v1/results/{film}", "pacs").json()["exposed_field"] == FIELD


def test_the_document_says_what_the_field_is(service: Served) -> None:
    document = service.get("/openapi.json").json()
    decoded = document["paths"]["/v1/decode"]["post"]["responses"]["200"]["headers"]["X-Exposed-Field"]
    assert decoded["required"]
    assert "JudgedField" in decoded["description"]
    assert set(document["components"]["schemas"]["JudgedField"]["required"]) == set(FIELD)
    assert set(document["components"]["schemas"]["Accepted"]["required"]) >= {"exposed_field", "notes"}
