"""The outline of what was judged, over a film with a frame: where it lies on the screen, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from benchmarks.field.frames import chest, collimated, turned_rectangle
from tests.page.bundle import densities
from tests.page.conftest import Open, assert_accessible, drawn, serving
from tests.support.bundles import write_random_bundle
from tests.support.reviewing import Keeping

ROWS, COLUMNS = 320, 300
TOP, LEFT, BOTTOM, RIGHT = 40, 25, 15, 60
SHARE, DEGREES = 0.08, 3.0


PLAIN = ("plain.png", drawn(chest(ROWS, COLUMNS)))
#: Black outside of the film, and nowhere in it.
BORDERED = ("bordered.png", drawn(np.pad(chest(ROWS, COLUMNS, seed=1), ((TOP, BOTTOM), (LEFT, RIGHT)))))
TURNED = ("turned.png", drawn(collimated(chest(ROWS, COLUMNS, seed=2), SHARE, degrees=DEGREES)))

#: Of the canvas: [left, top, right, bottom] of what is not black, in CSS pixels of the window.
LIT = """() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const box = [Infinity, Infinity, 0, 0];
    for (let at = 0; at < data.length; at += 4) {
        if (data[at] < 10) continue;
        const [x, y] = [(at / 4) % canvas.width, Math.floor(at / 4 / canvas.width)];
        box[0] = Math.min(box[0], x);
        box[1] = Math.min(box[1], y);
        box[2] = Math.max(box[2], x + 1);
        box[3] = Math.max(box[3], y + 1);
    }
    const place = canvas.getBoundingClientRect();
    const [across, down] = [place.width / canvas.width, place.height / canvas.height];
    return box.map((side, at) => (at % 2 ? place.top + side * down : place.left + side * across));
}"""
OUTLINED = """() => {
    const { left, top, right, bottom } = document.querySelector(".outline polygon").getBoundingClientRect();
    return [left, top, right, bottom];
}"""
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


@pytest.fixture(scope="module")
def kept(plain_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    """It rejects one of the two films in frames and accepts the other."""
    folder = tmp_path_factory.mktemp("half")
    between = float(np.mean(densities(plain_bundle, BORDERED[1], TURNED[1])))
    with serving(folder, write_random_bundle(folder / "bundle", between)) as it:
        yield it


def corners(page: Page) -> list[tuple[float, float]]:
    """Of the outline, in pixels of the film."""
    points = page.locator(".outline polygon").first.get_attribute("points")
    assert points
    return [(float(x), float(y)) for x, y in (point.split(",") for point in points.split())]


def lies_on_the_films_edge(page: Page) -> bool:
    page.evaluate(PAINTED)
    lit, outlined = page.evaluate(LIT), page.evaluate(OUTLINED)
    return bool(np.allclose(lit, outlined, atol=2.0))


def test_the_outline_lies_on_the_edge_of_the_film_and_follows_it(visit: Open) -> None:
    seen = visit()
    page = seen.page
    seen.drop(BORDERED)
    expect(page.locator(".field")).to_be_visible()
    right, bottom = LEFT + COLUMNS, TOP + ROWS
    assert corners(page) == [(LEFT, TOP), (right, TOP), (right, bottom), (LEFT, bottom)]
    expect(page.locator(".field")).to_contain_text("Judged: inside the dashed line.")
    expect(page.locator(".field")).to_contain_text(
        "Left out: 40 px at the top, 25 px at the left, 15 px at the bottom, and 60 px at the right."
    )
    page.wait_for_function(f"() => Number.isFinite(({LIT})()[0])")
    assert lies_on_the_films_edge(page)
    seen.keep("viewer-bordered-1280x720-light")
    before = page.evaluate(OUTLINED)
    canvas = page.locator("canvas")
    for press in ("-", "ArrowLeft", "ArrowDown", "-"):
        canvas.press(press)
        page.evaluate(PAINTED)
        after = page.evaluate(OUTLINED)
        assert not np.allclose(after, before, atol=2.0), press
        assert lies_on_the_films_edge(page), press
        before = after
    page.set_viewport_size({"width": 1500, "height": 600})
    assert lies_on_the_films_edge(page)
    canvas.press("r")
    assert lies_on_the_films_edge(page)


def test_the_outline_is_hidden_and_shown(visit: Open) -> None:
    seen = visit()
    page = seen.page
    seen.drop(BORDERED)
    outline = page.locator(".outline")
    expect(outline).to_be_visible()
    page.get_by_label("Outline", exact=True).uncheck()
    expect(outline).to_be_hidden()
    page.locator("canvas").press("o")
    expect(outline).to_be_visible()
    page.locator("canvas").press("O")
    expect(outline).to_be_hidden()
    expect(page.get_by_label("Outline", exact=True)).not_to_be_checked()


def test_a_film_that_is_judged_whole_has_no_outline(visit: Open) -> None:
    seen = visit()
    page = seen.page
    seen.drop(BORDERED, PLAIN)
    expect(page.locator(".outline")).to_be_visible()
    page.get_by_role("button", name="plain.png").click()
    expect(page.locator(".readout")).to_contain_text(f"{COLUMNS}×{ROWS}")
    expect(page.locator(".outline")).to_have_count(0)
    expect(page.get_by_label("Outline", exact=True)).to_be_hidden()
    expect(page.locator(".field")).not_to_contain_text("Judged")


def test_slanted_edges_are_outlined_as_they_lie(visit: Open) -> None:
    seen = visit(scheme="dark")
    page = seen.page
    seen.drop(TURNED)
    expect(page.locator(".field")).to_contain_text("and what lies beyond slanted or round edges")
    outline = np.array(corners(page))
    for x, y in turned_rectangle(ROWS, COLUMNS, SHARE, DEGREES):
        assert np.hypot(*(outline - (x, y)).T).min() < 6
    assert area(outline) == pytest.approx((1 - 2 * SHARE) ** 2 * ROWS * COLUMNS, rel=0.06)
    seen.keep("viewer-collimated-1280x720-dark")


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_also_of_a_rejected_film(visit: Open, scheme: str) -> None:
    seen = visit(scheme=scheme)
    page = seen.page
    seen.drop(BORDERED, TURNED)
    expect(page.locator(".list [data-state=accepted]")).to_have_count(1)
    for state in ("accepted", "rejected"):
        page.locator(f".list [data-state={state}]").click()
        expect(page.locator(f".verdict.{state}")).to_be_visible()
        expect(page.locator(".outline")).to_be_visible()
        assert_accessible(page)


def test_a_reviewer_sees_the_outline_too(visit: Open, kept: Keeping) -> None:
    answers = {name: kept.score(content) for name, content in (BORDERED, TURNED)}
    (film,) = (answer.json()["request_id"] for answer in answers.values() if answer.status_code == 422)
    seen = visit("/ops#quarantine")
    page = seen.page
    page.locator(f"[data-film='{film}']").click()
    expect(page.locator(".pair .outline")).to_be_visible()
    expect(page.locator(".pair figcaption").first).to_contain_text("Judged: inside the dashed line.")
    # The picture keeps its shape within a square; so does what lies over it.
    page.wait_for_function("() => document.querySelector('.pair img').naturalWidth > 0")
    box = page.locator(".pair img").first.bounding_box()
    size = page.locator(".pair img").first.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")
    assert box
    scale = box["width"] / max(size)
    across, down = np.array(corners(page)).T
    left = box["x"] + (box["width"] - size[0] * scale) / 2
    top = box["y"] + (box["height"] - size[1] * scale) / 2
    expected = [
        left + across.min() * scale,
        top + down.min() * scale,
        left + across.max() * scale,
        top + down.max() * scale,
    ]
    np.testing.assert_allclose(page.evaluate(OUTLINED), expected, atol=1.5)
    assert_accessible(page)
    seen.keep("ops-1280x720-light-quarantine-bordered")
