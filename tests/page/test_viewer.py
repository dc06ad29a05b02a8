"""The viewer in a real browser: films are dropped, and what is seen is what the service says."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect
from pydicom import dcmread

from app.pipeline.labels import LABELS
from app.results import film_png_16
from tests.page.conftest import DESK, READING_ROOM, Film, Open, assert_accessible

#: Of the film's canvas: [pixels that are not grey, different greys].
SEEN = """() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const greys = new Set();
    let coloured = 0;
    for (let at = 0; at < data.length; at += 4) {
        if (Math.abs(data[at] - data[at + 2]) > 12) coloured++;
        greys.add(data[at + 1]);
    }
    return [coloured, greys.size];
}"""


def await_seen(page: Page, condition: str) -> None:
    """Wait until ``condition`` holds of `coloured` and `greys`."""
    page.wait_for_function(f"() => {{ const [coloured, greys] = ({SEEN})(); return {condition}; }}")


def film_is_shown(page: Page) -> None:
    expect(page.locator(".readout")).to_contain_text("Window 100 %")
    await_seen(page, "greys > 100")


def test_a_real_film_is_dropped_and_the_evidence_for_a_finding_is_seen(visit: Open, film: bytes) -> None:
    seen = visit()
    page = seen.page
    expect(page.locator(".notice")).to_be_visible()
    seen.drop(("chest.dcm", film))
    expect(page.locator(".verdict h2")).to_have_text("Integrity: no tampering found")
    expect(page.locator(".finding")).to_have_count(len(LABELS))
    film_is_shown(page)
    await_seen(page, "coloured === 0")
    page.locator("[data-finding=Pneumonia]").click()
    expect(page.locator(".caption")).to_contain_text("Heatmap: Pneumonia. It is absent")
    lines = page.locator(".contours")
    expect(lines).to_be_visible()
    await_seen(page, "coloured === 0")  # the film itself stays as it is
    seen.keep("viewer-1280x720-light")
    expect(page.get_by_label("Opacity")).to_be_hidden()
    page.locator("canvas").press("w")
    await_seen(page, "coloured > 1000")
    page.get_by_label("Opacity").fill("0")
    await_seen(page, "coloured === 0")
    page.get_by_label("Opacity").fill("55")
    await_seen(page, "coloured > 1000")
    page.get_by_label("Heatmap", exact=True).uncheck()
    await_seen(page, "coloured === 0")
    expect(lines).to_be_hidden()


def test_an_attacked_film_is_refused_in_plain_words(visit: Open, attacked: bytes) -> None:
    seen = visit(scheme="dark")
    page = seen.page
    seen.drop(("attacked.png", attacked))
    expect(page.locator(".verdict h2")).to_have_text("Rejected: this image may have been altered")
    panel = page.locator(".panel")
    expect(panel).to_contain_text("No probabilities are given")
    expect(panel).to_contain_text("Do not send it again")
    expect(page.locator(".finding")).to_have_count(0)
    assert not re.search(r"\d\.\d", panel.inner_text())
    film_is_shown(page)  # the sender may look at his own film
    seen.keep("viewer-1280x720-dark-rejected")


def test_sixteen_bits_are_kept_for_the_window(visit: Open, film: bytes) -> None:
    """Where a film spans one 256th of the range, 8 bits would leave two greys."""
    noise = (32640 + 255 * np.random.default_rng(0).random((512, 512), dtype=np.float32)) / 65535

    def decoded(route: Route) -> None:
        route.fulfill(body=film_png_16(noise), content_type="image/png")

    seen = visit()
    page = seen.page
    page.route("**/v1/decode", decoded)
    seen.drop(("chest.dcm", film))
    expect(page.locator(".readout")).to_contain_text("512×512")
    await_seen(page, "greys < 8")
    canvas = page.locator("canvas")
    canvas.focus()
    for _ in range(20):
        canvas.press("Shift+ArrowLeft")
    await_seen(page, "greys > 100")


def test_window_zoom_pan_invert_and_reset(visit: Open, film: bytes) -> None:
    seen = visit()
    page = seen.page
    seen.drop(("chest.dcm", film))
    film_is_shown(page)
    readout, canvas = page.locator(".readout"), page.locator("canvas")
    first = readout.inner_text()
    box = canvas.bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def picture() -> str:
        drawn = "(canvas) => new Promise((done) => requestAnimationFrame(() => done(canvas.toDataURL())))"
        shown: str = canvas.evaluate(drawn)
        return shown

    untouched = picture()
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] - 100, middle[1] + 50, steps=4)
    page.mouse.up()
    expect(readout).not_to_contain_text("Window 100 %")
    expect(readout).not_to_contain_text("Level 50 %")
    windowed = readout.inner_text()
    page.mouse.wheel(0, -400)
    expect(readout).not_to_have_text(windowed)
    page.get_by_role("button", name="Reset").click()
    expect(readout).to_have_text(first)

    def differs_from_untouched(press: str) -> None:
        canvas.focus()
        canvas.press(press)
        assert picture() != untouched, press
        canvas.press("r")

    for press in ("i", "+", "ArrowLeft", "Shift+ArrowUp"):
        differs_from_untouched(press)
    page.get_by_text("Pan", exact=True).click()
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 80, middle[1], steps=3)
    page.mouse.up()
    expect(readout).to_have_text(first)  # neither window nor zoom
    assert picture() != untouched


def test_a_batch_with_what_is_no_film(visit: Open, film: bytes, attacked: bytes, films: Sequence[Film]) -> None:
    seen = visit(size=READING_ROOM, scheme="dark")
    page = seen.page
    seen.drop(("chest.dcm", film), ("notes.txt", b"not a film"), ("=attacked.png", attacked), *films)
    count = 3 + len(films)
    expect(page.locator(".films [role=status]")).to_contain_text(f"{count} of {count} done", timeout=60_000)
    expect(page.locator(".list [data-state=failed]")).to_have_count(1)
    film_is_shown(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert [row["file"] for row in rows] == ["chest.dcm", "notes.txt", "'=attacked.png", *(name for name, _ in films)]
    assert (rows[0]["verdict"], rows[1]["verdict"], rows[2]["verdict"]) == ("accepted", "failed", "rejected")
    assert 0 < float(rows[0]["Pneumonia"]) < 1
    assert rows[2]["Pneumonia"] == ""
    assert rows[2]["title"] == "rejected as adversarial"

    page.locator("[data-finding=Pneumonia]").click()
    expect(page.locator(".caption")).to_contain_text("Heatmap: Pneumonia")
    expect(page.locator(".contours")).to_be_visible()
    seen.keep("viewer-2560x1440-dark")

    # By keyboard: down the list, to the file that is no film; its problem is shown as the service says it.
    page.locator(".list button").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".list [aria-current=true]")).to_contain_text("notes.txt")
    expect(page.locator(".panel .problem strong")).not_to_be_empty()
    expect(page.locator(".panel .problem .reference")).to_contain_text("Reference")


def test_the_report_of_a_dicom_film_is_saved(visit: Open, film: bytes) -> None:
    seen = visit(size=DESK)
    page = seen.page
    seen.drop(("chest.dcm", film))
    expect(page.locator(".finding")).to_have_count(len(LABELS))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Report (DICOM SR)").click()
    assert saved.value.suggested_filename == "chest-report.dcm"
    report = dcmread(saved.value.path())
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == dcmread(io.BytesIO(film)).StudyInstanceUID
    page.locator("[data-finding=Mass]").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Heatmap (DICOM)").click()
    assert dcmread(saved.value.path()).SOPClassUID.name == "Secondary Capture Image Storage"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Open, film: bytes, attacked: bytes, scheme: str) -> None:
    seen = visit(scheme=scheme)
    page = seen.page
    expect(page.get_by_text("Drop a chest film here")).to_be_visible()
    assert_accessible(page)
    seen.drop(("attacked.png", attacked), ("chest.dcm", film))
    expect(page.locator(".list [data-state=accepted]")).to_have_count(1)
    expect(page.locator(".verdict.rejected")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="chest.dcm").click()
    expect(page.locator(".finding")).to_have_count(len(LABELS))
    page.locator(".finding").first.click()
    expect(page.locator(".caption")).not_to_contain_text("being made")
    assert_accessible(page)
