"""What is left out of a picture, and what never is."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion

from app.pipeline import decode, exposed_field, film_tensor, margins, mirror, picture_tensor
from app.pipeline.exposed_field import LEAST_OF_THE_PICTURE, ExposedField, cut_out, describe, find_field
from app.pipeline.margins import MOST_OF_A_SIDE
from benchmarks.field.frames import (
    Film,
    barred,
    bordered,
    chest,
    collimated,
    eight_sided,
    lettered,
    rounded,
    turned_rectangle,
)

FILM = chest()
#: Bodies before a background that is dark in all four corners; the nearest to an outline of all films.
DARK_CORNERED = ("00024107_000.png", "00002343_003.png", "00012791_000.png", "00005618_000.png")


def posted(film: Film) -> Film:
    """As it is once it was in a file of 8 bits."""
    return (film * 255).round().astype(np.float32) / np.float32(255)


def png(film: Film) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((film * 255).round().astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def edges(field: ExposedField) -> tuple[int, int, int, int]:
    return field.top, field.left, field.bottom, field.right


def test_a_film_without_a_frame_is_left_alone_and_not_copied() -> None:
    film = posted(FILM)
    field = find_field(film)
    assert field == ExposedField.whole(*film.shape)
    assert field.is_whole
    assert describe(field, ()) == ()
    assert np.shares_memory(cut_out(film, field), film)


@pytest.mark.parametrize("grey", [0.0, 0.15, 0.5, 1.0])
@pytest.mark.parametrize("width", [1, 3, 10, 40])
def test_a_border_of_any_grey_and_width_is_removed_to_the_pixel(width: int, grey: float) -> None:
    film = posted(FILM)
    framed = posted(bordered(FILM, width, grey))
    field = find_field(framed)
    assert edges(field) == (width, width, width + film.shape[0], width + film.shape[1])
    np.testing.assert_array_equal(cut_out(framed, field), film)
    assert "left out" in describe(field, ())[0]
    assert f"{width} at the top" in describe(field, ())[0]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_bars_are_removed_to_the_pixel(share: float, axis: int) -> None:
    framed = posted(barred(FILM, share, 0.0, axis))
    np.testing.assert_array_equal(cut_out(framed, find_field(framed)), posted(FILM))


def test_a_border_around_a_border_is_removed_too() -> None:
    framed = posted(bordered(bordered(FILM, 8, 0.0), 2, 1.0))
    np.testing.assert_array_equal(cut_out(framed, find_field(framed)), posted(FILM))


def test_letters_in_a_bar_do_not_keep_it() -> None:
    framed = posted(lettered(barred(FILM, 0.2, 0.0, 0), (20, 20)))
    np.testing.assert_array_equal(cut_out(framed, find_field(framed)), posted(FILM))


@pytest.mark.parametrize("grey", [0.0, 1.0])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_border_that_went_through_jpeg_leaves_no_rim(quality: int, grey: float) -> None:
    stream = io.BytesIO()
    Image.fromarray((bordered(FILM, 10, grey) * 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    field = decode(stream.getvalue()).field
    rows, columns = FILM.shape
    for found, true in zip(edges(field), (10, 10, 10 + rows, 10 + columns), strict=True):
        assert abs(found - true) <= 8  # a block of JPEG
    inside = cut_out(decode(stream.getvalue()).pixels, field)
    for line in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
        assert np.abs(line - grey).min() > 0.02


@pytest.mark.parametrize("degrees", [-3.0, -1.0, 0.0, 2.0])
@pytest.mark.parametrize(
    ("grey", "grain", "kept"), [(0.0, 0.0, 0.0), (0.03, 0.006, 0.0), (0.01, 0.004, 0.06), (1.0, 0.0, 0.0)]
)
def test_collimation_is_found_also_where_it_is_turned(degrees: float, grey: float, grain: float, kept: float) -> None:
    framed = posted(collimated(FILM, 0.06, grey=grey, grain=grain, kept=kept, degrees=degrees))
    field = find_field(framed)
    corners = turned_rectangle(*FILM.shape, 0.06, degrees)
    bounds = (
        min(y for _, y in corners),
        min(x for x, _ in corners),
        max(y for _, y in corners),
        max(x for x, _ in corners),
    )
    for found, true in zip(edges(field), bounds, strict=True):
        assert abs(found - true) <= 5
    shown = cut_out(framed, field)
    # Next to nothing of the margin is left, and nothing but it is gone.
    assert (np.abs(shown - grey) < 0.02).mean() < (0.025 if abs(degrees) == 1 else 0.002)
    assert field.share > 0.9 * (1 - 2 * 0.06) ** 2
    if abs(degrees) != 1:  # thinner wedges may stay
        assert bool(field.outlines) == (degrees != 0)


def test_what_lies_beyond_a_slanted_edge_is_the_mirror_image_of_what_lies_within() -> None:
    """A naive search for the nearest pixel of the field is the oracle."""
    film = np.random.default_rng(0).permutation(3000).reshape(60, 50).astype(np.float32) / 3000
    field = ExposedField(60, 50, 0, 0, 60, 50, (((0, 0), (50, 6), (50, 60), (0, 60)),))
    filled = cut_out(film, field)
    seen = filled == film
    kept = np.argwhere(seen)
    assert 0.9 < seen.mean() < 0.96
    for row, column in np.argwhere(~seen)[::7]:
        distances = ((kept - (row, column)) ** 2).sum(1)
        nearest = kept[distances == distances.min()]
        mirrored = [(2 * near_row - row, np.clip(2 * near_column - column, 0, 49)) for near_row, near_column in nearest]
        assert filled[row, column] in [film[at] for at in mirrored if seen[at]]


@pytest.mark.parametrize("grey", [0.0, 1.0, 0.1])
@pytest.mark.parametrize(
    "paint",
    [
        lambda film, grey: rounded(film, 0.5, grey),
        lambda film, grey: rounded(film, 0.6, grey),
        lambda film, grey: eight_sided(film, 0.12, grey),
        lambda film, grey: eight_sided(film, 0.3, grey),
    ],
    ids=["circle", "large circle", "small corners", "large corners"],
)
@pytest.mark.parametrize("scale", [1, 3])
def test_burned_in_corners_are_found_without_a_header(
    paint: Callable[[Film, float], Film], grey: float, scale: int
) -> None:
    film = chest(320 * scale, 300 * scale)
    beyond = paint(np.zeros_like(film), 1.0) > 0
    field = find_field(posted(paint(film, grey)))
    assert len(field.outlines) == 1
    inside = exposed_field._rasterised(field.outlines[0], film.shape)
    assert (inside & beyond).sum() <= 0.001 * film.size  # the outline's rim is filled too
    assert (~inside & ~beyond).sum() <= 0.05 * film.size  # inset: little film is lost
    assert "round edges" in describe(field, ())[0]
    cut = cut_out(posted(paint(film, grey)), field)
    assert not np.isin(cut, np.float32(posted(np.full(1, grey, np.float32)))).mean() > 0.01


@pytest.mark.parametrize("spoiled", ["three corners", "grain", "small", "faded", "body"])
def test_corners_that_may_be_a_bodys_background_are_left_alone(spoiled: str) -> None:
    film = eight_sided(FILM, 0.2)
    if spoiled == "three corners":
        film[:100, :100] = FILM[:100, :100]
    elif spoiled == "grain":
        film = np.clip(film + np.random.default_rng(0).normal(0.03, 0.03, film.shape), 0, 1).astype(np.float32)
    elif spoiled == "small":
        film = eight_sided(FILM, 0.05)
    elif spoiled == "faded":
        rows, columns = film.shape
        y, x = np.mgrid[:rows, :columns]
        fade = 1.2 - np.hypot(x / columns - 0.5, y / rows - 0.5) / 0.5
        film = (FILM * np.clip(2 * fade, 0, 1)).astype(np.float32)
    else:  # shoulders below a neck, and a waist
        rows, columns = film.shape
        y, x = np.mgrid[:rows, :columns] / np.array([rows, columns])[:, None, None]
        half = np.where(y < 0.15, 0.12, np.where(y < 0.3, 0.12 + 2.5 * (y - 0.15), 0.49 - 0.2 * (y - 0.3)))
        film = np.where(np.abs(x - 0.5) < half, FILM, 0).astype(np.float32)
    assert not find_field(posted(film)).outlines


def test_none_of_the_collections_films_gains_corners(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles were fitted before corners were looked for, on fields without them."""
    with (shared_data / "chest_xrays" / "labels.csv").open() as table:
        names = [row["Image Index"] for row in csv.DictReader(table)]
    images = [Image.open(shared_data / "chest_xrays" / "images" / name) for name in [*DARK_CORNERED, *names[::40]]]
    films = [np.asarray(image.convert("L"), np.float32) / np.float32(255) for image in images]
    found = [find_field(film) for film in films]
    monkeypatch.setattr(exposed_field, "rounded_outline", lambda *_: None)
    assert found == [find_field(film) for film in films]


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_large_field_is_reduced_to_the_means_of_its_blocks(step: int) -> None:
    film = chest(101, 97)
    rows, columns = 101 // step, 97 // step
    blocks = film[: rows * step, : columns * step].astype(np.float64).reshape(rows, step, columns, step)
    np.testing.assert_allclose(mirror.block_means(film, step), blocks.mean((1, 3)), atol=2e-7)


@pytest.mark.parametrize("corners", [False, True])
def test_what_is_seen_along_with_its_neighbours_is_scipys_erosion(corners: bool) -> None:
    seen = np.random.default_rng(0).uniform(size=(40, 31)) > 0.1
    expected = binary_erosion(seen, np.ones((3, 3)) if corners else None, border_value=1)
    np.testing.assert_array_equal(mirror.eroded(seen, corners=corners), expected)
    assert expected.any()


@pytest.mark.parametrize("count", [1, 2, 7, 256])
def test_medians_are_numpys_to_the_bit(count: int) -> None:
    lines = np.random.default_rng(count).uniform(size=(5, count)).astype(np.float32)
    np.testing.assert_array_equal(margins._medians(lines), np.median(lines, axis=1))
    np.testing.assert_array_equal(margins._medians(lines[0]), np.median(lines[0]))


def test_a_saturated_abdomen_is_no_bar() -> None:
    rows, _ = FILM.shape
    depth = np.clip((np.arange(rows)[:, None] - 0.6 * rows) / (0.25 * rows), 0, 1)
    film = posted(np.clip(FILM + 1.2 * depth, 0, 1).astype(np.float32))
    assert (film[-20:] == 1).mean() > 0.99
    assert find_field(film).is_whole


def test_air_beside_a_neck_is_no_margin_where_the_neck_reaches_the_edge() -> None:
    rows, columns = FILM.shape
    y, x = np.mgrid[:rows, :columns]
    body = (np.abs(x - columns / 2) < 0.12 * columns) | (y > 0.1 * rows + 0.9 * np.abs(x - columns / 2) ** 1.02 * 0.4)
    film = posted(np.where(body, FILM, 0.01).astype(np.float32))
    field = find_field(film)
    assert field.top == 0
    assert field.share > 0.95


def test_bars_that_leave_too_little_are_no_bars() -> None:
    wide = posted(barred(FILM, 2.5, 0.0, 1))
    assert (wide.shape[1] - FILM.shape[1]) / 2 > MOST_OF_A_SIDE * wide.shape[1]
    assert find_field(wide).is_whole


def test_a_shutter_bounds_the_field_and_one_that_leaves_too_little_does_not() -> None:
    film = posted(FILM)
    field = find_field(film, [((20.0, 30.0), (280.0, 30.0), (280.0, 300.0), (20.0, 300.0))])
    assert edges(field) == (30, 20, 300, 280)
    assert not field.outlines
    tiny = ((20.0, 30.0), (60.0, 30.0), (60.0, 80.0), (20.0, 80.0))
    assert (40 * 50) / film.size < LEAST_OF_THE_PICTURE
    ignored = find_field(film, [tiny])
    assert ignored.is_whole
    assert "too little" in describe(ignored, [tiny])[0]


def test_a_round_shutter_is_filled() -> None:
    film = posted(FILM)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    circle = tuple((float(150 + 148 * np.cos(a)), float(160 + 148 * np.sin(a))) for a in angles)
    black = film.copy()
    y, x = np.mgrid[: film.shape[0], : film.shape[1]]
    black[(x + 0.5 - 150) ** 2 + (y + 0.5 - 160) ** 2 > 148**2] = 0
    shown = cut_out(black, find_field(black, [circle]))
    assert (shown < 0.05).sum() <= 20  # at the four points where the circle touches its rectangle
    assert shown.shape[0] >= 290


def test_a_field_survives_the_way_between_processes_and_an_impossible_one_does_not() -> None:
    field = find_field(posted(collimated(FILM, 0.06, degrees=2)))
    told = field.as_json()
    assert ExposedField.from_json(told) == field
    hostile = [
        {**told, "bottom": told["rows"] + 1},  # type: ignore[operator]
        {**told, "left": -1},
        {**told, "top": told["bottom"]},
        {**told, "outlines": [[[0, 0], [float("nan"), 1], [2, 2]]]},
        {**told, "outlines": [[[0, 0], [1, 1]]]},
        {**told, "outlines": [[[0, 0], [1, 1], [2, 2]]] * 99},
    ]
    for one in hostile:
        with pytest.raises(ValueError, match="impossible"):
            ExposedField.from_json(one)


def shared_films(folder: Path, split: str, count: int) -> list[Film]:
    with (folder / "chest_xrays" / "labels.csv").open() as table:
        names = sorted(row["Image Index"] for row in csv.DictReader(table) if row["split"] == split)
    paths = [folder / "chest_xrays" / "images" / name for name in names[:: max(1, len(names) // count)][:count]]
    return [np.asarray(Image.open(path).convert("L"), np.float32) / np.float32(255) for path in paths]


def test_what_is_left_out_of_real_films_holds_nothing(shared_data: Path) -> None:
    """Outside of the field, pixels are of one grey but for markers and scattered rays."""
    for film in shared_films(shared_data, "val", 139):
        field = find_field(film)
        if field.is_whole:
            continue
        assert field.share > 0.6
        rows, columns = slice(field.top, field.bottom), slice(field.left, field.right)
        moved = 10  # lines by which an edge is moved inwards, for its penumbra
        left_out = (
            film[: max(0, field.top - moved), columns],
            film[field.bottom + moved :, columns],
            film[rows, : max(0, field.left - moved)],
            film[rows, field.right + moved :],
        )
        for strip in left_out:
            if strip.size:
                assert np.quantile(np.abs(strip - np.median(strip)), 0.8) < 0.1


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_real_film_and_the_same_in_a_border_come_to_the_same_input(shared_data: Path, grey: float) -> None:
    differences = []
    for film in shared_films(shared_data, "val", 24):
        plain, framed = film_tensor(decode(png(film))), film_tensor(decode(png(bordered(film, 10, grey))))
        differences.append(float((plain - framed).abs().mean()))
    assert np.median(differences) == 0 if grey in {0, 1} else np.median(differences) < 0.002
    assert max(differences) < 0.02


def test_changed_pixels_are_judged_by_a_field_of_their_own() -> None:
    framed = posted(bordered(FILM, 10, 1.0))
    assert (picture_tensor(framed) == picture_tensor(posted(FILM))).all()


def test_a_faint_film_is_not_taken_for_its_own_margin() -> None:
    """Twelve bits in a file of sixteen, before anybody says so."""
    faint = (FILM / 16).astype(np.float32)
    assert find_field(faint).is_whole
    assert edges(find_field(bordered(faint, 10, 0.0))) == (10, 10, 330, 310)
