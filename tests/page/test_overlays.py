"""What lies over the film: contours where they must lie, and side marks only where the header says which side is which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from benchmarks.field.frames import chest
from tests.page.conftest import Film, Open, Visit, drawn, serving
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import dicom, encoded
from tests.support.reviewing import Keeping

SIDE = 300
TOP, LEFT, BOTTOM, RIGHT = 30, 45, 60, 15
DECODED = np.pad(chest(SIDE, SIDE), ((TOP, BOTTOM), (LEFT, RIGHT)))
#: A frame about it, which is not judged.
BORDERED: Film = ("bordered.png", drawn(DECODED))
ROWS, COLUMNS = DECODED.shape


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    """It accepts every film, and calls Mass absent in each and Effusion present."""
    folder = tmp_path_factory.mktemp("all")
    points = {"Mass": (0.9999, 0.999), "Effusion": (0.001, 0.0001)}
    findings = {name: dict(zip(("present_from", "absent_below"), pair, strict=True)) for name, pair in points.items()}
    with serving(folder, write_random_bundle(folder / "bundle", ACCEPT_EVERYTHING, findings=findings)) as it:
        yield it


def cone(middle: tuple[float, float], radius: float) -> np.ndarray:
    """One at its middle (x, y) and zero at `radius` pixels: its contours are circles, whose radii are known."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS] + 0.5
    return np.clip(1 - np.hypot(columns - middle[0], rows - middle[1]) / radius, 0, 1)


def show(visit: Visit, warm: np.ndarray, film: Film = BORDERED, finding: str = "Effusion") -> Page:
    """The page with a heatmap of these shares over the film."""
    picture = np.dstack([np.full((*warm.shape, 3), (249, 142, 9)), warm * 255]).round().astype(np.uint8)
    body = encoded(Image.fromarray(picture, "RGBA"))
    visit.page.route("**/v1/explain*", lambda route: route.fulfill(body=body, content_type="image/png"))
    visit.drop(film)
    visit.page.locator(f"[data-finding={finding}]").click()
    expect(visit.page.locator(".caption")).to_contain_text(f"Heatmap: {finding}")
    expect(visit.page.locator(".caption")).not_to_contain_text("being made")
    return visit.page


def points(page: Page, level: float) -> np.ndarray:
    """Of a line, in pixels of the film: shape (pieces, 2 ends, 2)."""
    path = page.locator(f".contours path[data-level='{level}']").get_attribute("d") or ""
    pieces = re.findall(r"M([\d.-]+) ([\d.-]+)L([\d.-]+) ([\d.-]+)", path)
    assert "".join("M{} {}L{} {}".format(*piece) for piece in pieces) == path
    return np.array(pieces, dtype=float).reshape(-1, 2, 2)


def test_contours_of_a_cone_are_the_circles_that_they_must_be(visit: Open) -> None:
    middle, radius = (190.0, 170.0), 110.0
    page = show(visit(), cone(middle, radius))
    for level in (0.5, 0.8):
        line = points(page, level)
        distances = np.hypot(*(line.reshape(-1, 2) - middle).T)
        assert np.abs(distances - (1 - level) * radius).max() < 2
        length = np.hypot(*(line[:, 0] - line[:, 1]).T).sum()
        assert length == pytest.approx(2 * np.pi * (1 - level) * radius, rel=0.05)  # once around, without a gap


def test_two_places_have_a_line_each(visit: Open) -> None:
    places = [(120.0, 120.0), (280.0, 250.0)]
    page = show(visit(), np.maximum(*(cone(place, 60) for place in places)))
    line = points(page, 0.5).reshape(-1, 2)
    distances = np.min([np.hypot(*(line - place).T) for place in places], axis=0)
    assert np.abs(distances - 30).max() < 2
    assert all((np.hypot(*(line - place).T) < 35).any() for place in places)


def test_contours_stay_in_the_field_and_open_at_its_edge(visit: Open) -> None:
    """Evidence that is cut off by the edge has no line along the edge, which would read as its end."""
    warm = cone((LEFT, TOP + 150.0), 120)
    warm[:, :LEFT] = warm[:TOP] = 0
    page = show(visit(), warm)
    line = points(page, 0.5)
    x, y = line.reshape(-1, 2).T
    assert LEFT <= x.min() < LEFT + 3
    assert (x <= LEFT + SIDE).all()
    assert np.abs(np.hypot(x - LEFT, y - TOP - 150) - 60).max() < 2.5
    length = np.hypot(*(line[:, 0] - line[:, 1]).T).sum()
    assert length == pytest.approx(np.pi * 60, rel=0.05)  # half a circle


def test_contours_follow_the_film(visit: Open) -> None:
    middle = (190.0, 170.0)
    page = show(visit(), cone(middle, 110.0))
    box = """() => { const { x, y, width, height } = document.querySelector(".contours path[data-level='0.5']")
        .getBoundingClientRect(); return [x + width / 2, y + height / 2, width]; }"""
    x, y, width = page.evaluate(box)
    stage = page.locator("canvas").bounding_box()
    assert stage
    scale = min(stage["width"] / COLUMNS, stage["height"] / ROWS)
    assert x == pytest.approx(stage["x"] + stage["width"] / 2 + (middle[0] - COLUMNS / 2) * scale, abs=3)
    assert y == pytest.approx(stage["y"] + stage["height"] / 2 + (middle[1] - ROWS / 2) * scale, abs=3)
    for press in ("+", "ArrowLeft"):
        page.locator("canvas").press(press)
    page.wait_for_function(f"(width) => ({box})()[2] > 1.2 * width", arg=width)
    assert page.evaluate(box)[0] != pytest.approx(x, abs=3)


def test_lines_of_an_absent_finding_look_like_less(visit: Open) -> None:
    """Each map is drawn by its own strongest place, so that of a finding at a thousandth has lines as wide."""
    page = show(visit(), cone((190, 170), 110), finding="Mass")
    expect(page.locator(".caption")).to_contain_text("It is absent")
    style = "(path) => [getComputedStyle(path).stroke, parseFloat(getComputedStyle(path).strokeWidth)]"
    line = page.locator(".contours path[data-level='0.8']")
    pale, thin = line.evaluate(style)
    page.locator("[data-finding=Effusion]").click()
    expect(page.locator(".caption")).to_have_text("Heatmap: Effusion")
    colour, wide = line.evaluate(style)
    assert pale != colour
    assert thin < wide


def test_where_nothing_speaks_for_a_finding_there_is_no_line_and_no_scale(visit: Open) -> None:
    page = show(visit(), np.zeros((ROWS, COLUMNS)))
    expect(page.locator(".caption")).to_contain_text("Nothing to show")
    expect(page.locator(".contours")).to_have_count(0)
    expect(page.locator(".scale")).to_be_hidden()


def oriented(*directions: str) -> Film:
    return "chest.dcm", dicom(PatientOrientation=list(directions))


def test_the_patients_right_is_marked_at_the_left_where_the_header_says_so(visit: Open) -> None:
    seen = visit()
    page = seen.page
    seen.drop(oriented("L", "F"))
    expect(page.locator(".sides text")).to_have_text(["R", "L"])
    expect(page.locator(".field")).to_contain_text("R, L: the page's marks, by the film's header.")
    expect(page.locator(".sides text").first).to_be_visible()

    def lie() -> tuple[float, float]:
        right, left = (page.locator(".sides text").nth(at).bounding_box() for at in (0, 1))
        assert right
        assert left
        return right["x"], left["x"]

    stage = page.locator("canvas").bounding_box()
    assert stage
    right, left = lie()
    assert stage["x"] <= right < stage["x"] + stage["width"] / 3
    assert stage["x"] + 2 * stage["width"] / 3 < left < stage["x"] + stage["width"]
    for press in ("+", "+", "+", "+", "ArrowLeft"):  # the film's own edges are out of sight
        page.locator("canvas").press(press)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    right, left = lie()
    assert stage["x"] <= right < left < stage["x"] + stage["width"]
    # Inverting is no mirroring.
    page.locator("canvas").press("i")
    expect(page.locator(".sides text")).to_have_text(["R", "L"])


def without_header(route: Route) -> None:
    """As a service before this header answers."""
    answer = route.fetch()
    headers = {name: value for name, value in answer.headers.items() if name != "x-film-sides"}
    route.fulfill(response=answer, headers=headers)


@pytest.mark.parametrize(
    ("film", "words"),
    [
        (lambda: oriented("R", "F"), "No side marks: by its header the film is mirrored."),
        (lambda: ("chest.dcm", dicom()), "No side marks: the file does not say which side is which."),
        (lambda: BORDERED, "No side marks: the file does not say which side is which."),
    ],
    ids=["mirrored", "no-orientation", "png"],
)
def test_no_side_is_marked_that_is_not_known(visit: Open, film: Callable[[], Film], words: str) -> None:
    seen = visit()
    seen.drop(oriented("L", "F"))
    expect(seen.page.locator(".sides text").first).to_be_visible()
    name, content = film()
    seen.drop((f"other-{name}", content))
    seen.page.get_by_role("button", name=f"other-{name}").click()
    expect(seen.page.locator(".field")).to_contain_text(words)
    expect(seen.page.locator(".sides text").locator("visible=true")).to_have_count(0)


def test_a_service_that_does_not_tell_sides_has_none_marked(visit: Open, kept: Keeping) -> None:
    seen = visit()
    seen.page.route("**/v1/decode", without_header)
    seen.drop(oriented("L", "F"))
    expect(seen.page.locator(".field")).to_be_visible()
    expect(seen.page.locator(".field")).to_contain_text("No side marks")
    expect(seen.page.locator(".sides text").locator("visible=true")).to_have_count(0)
