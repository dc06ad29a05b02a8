"""What the viewer says of findings: their calls, by the points of the answer, and in words."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from app.pipeline import LABELS
from app.results import film_png_16
from tests.page.bundle import WISHED
from tests.page.conftest import DESK, READING_ROOM, Open, Visit, assert_accessible
from tests.support.films import encoded
from tests.support.reviewing import Keeping

Answer = dict[str, Any]
#: As tests.page.bundle has it, by hand: each group from what is furthest up to what is furthest down beside its own point.
GROUPS = {
    "Present": ["Nodule", "Effusion"],
    "Indeterminate": ["Consolidation", "Atelectasis"],
    "Absent": [
        "Mass",
        "Emphysema",
        "Infiltration",
        "Pneumothorax",
        "Fibrosis",
        "Cardiomegaly",
        "Pleural_Thickening",
        "Pneumonia",
        "Edema",
    ],
    "Not called": ["Hernia", *LABELS[len(WISHED) :]],
}


def shown_groups(page: Page) -> dict[str, list[str]]:
    return {
        str(group.get_attribute("aria-label")): [
            str(row.get_attribute("data-finding")) for row in group.locator(".finding").all()
        ]
        for group in page.locator(".group").all()
    }


def answer_with(page: Page, change: Callable[[Answer], None]) -> None:
    """What the service answers reaches the page changed."""

    def changed(route: Route) -> None:
        answer = route.fetch()
        body: Answer = answer.json()
        change(body)
        route.fulfill(response=answer, json=body)

    page.route("**/v1/score", changed)


def accepted(visit: Visit, film: bytes) -> Page:
    visit.drop(("chest.dcm", film))
    expect(visit.page.locator(".finding")).to_have_count(len(LABELS))
    return visit.page


def test_findings_are_grouped_by_their_calls(visit: Open, kept: Keeping, film: bytes) -> None:
    told: Answer = kept.score(film, "application/dicom").json()
    page = accepted(visit(), film)
    assert shown_groups(page) == GROUPS
    for name, value in told["probabilities"].items():
        row = page.locator(f"[data-finding={name}]")
        digits = row.locator(".value").inner_text()
        assert float(digits) == pytest.approx(value, abs=0.51 * 10.0 ** -len(digits.partition(".")[2]))
        expect(row).to_contain_text(told["calls"][name]["call"], ignore_case=True)  # to a screen reader
    expect(page.locator("[data-finding=Effusion] .percentile")).to_have_text("higher than 97 % of films without it")
    expect(page.locator("[data-finding=Edema] .percentile")).to_have_text("lower than nearly all films without it")
    expect(page.locator("[data-finding=Hernia] .percentile")).to_have_text("no films without it to compare with")


def test_the_mark_lies_in_right_or_left_of_the_band_as_the_call_says(visit: Open, film: bytes) -> None:
    page = accepted(visit(), film)
    for (_, over, _), name in zip(WISHED, LABELS, strict=True):
        track = page.locator(f"[data-finding={name}] .track")
        expect(track.locator(".band")).to_have_count(0 if over is None else 1)
        if over is None:
            continue
        band, mark = track.locator(".band").bounding_box(), track.locator(".mark").bounding_box()
        assert band
        assert mark
        middle = mark["x"] + mark["width"] / 2
        # The band is .8 of log odds; the mark lies `over` beyond its right edge, if it is not held at an end of the bar.
        right = (middle - band["x"] - band["width"]) / band["width"] * 0.8
        assert right == pytest.approx(max(over, -3.3), abs=0.12), name


def test_what_a_number_means_is_told_by_pointer_and_by_keyboard(visit: Open, kept: Keeping, film: bytes) -> None:
    told: Answer = kept.score(film, "application/dicom").json()
    page = accepted(visit(), film)
    about = page.locator(".about")
    page.locator("[data-finding=Effusion]").hover()
    points = told["calls"]["Effusion"]
    expect(about).to_contain_text(f"Effusion: {told['probabilities']['Effusion']:.2f}, present")
    expect(about).to_contain_text(
        f"present from {points['present_from']:.2f}, absent below {points['absent_below']:.2f}"
    )
    for term, value in (
        ("Sensitivity", "41 %"),
        ("Specificity", "95 %"),
        ("at least", "93 %"),
        ("Missed", "27 %"),
        ("Films with it", "42 of 940"),
        ("AUROC", "0.83"),
        ("Prevalence", "4.0 %"),
    ):
        expect(about.locator("dl > div").filter(has_text=re.compile(f"^{term}"))).to_contain_text(value)
    page.locator("[data-finding=Effusion]").focus()
    page.keyboard.press("ArrowDown")  # into the next group
    expect(about).to_contain_text("Consolidation: 0.020, indeterminate")
    expect(about).to_be_in_viewport(ratio=1)
    page.locator("[data-finding=Hernia]").focus()
    expect(about).to_contain_text("Too few films with the finding")


def test_an_answer_keeps_the_points_of_the_version_that_gave_it(visit: Open, film: bytes) -> None:
    """As of a version that the page never heard of: /v1/model describes another one, with other points and numbers."""

    def promoted(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["model_version"] = "promoted"
        for finding in body["findings"]:
            finding.update(present_from=0.99, absent_below=0.98, sensitivity=0.111)
        route.fulfill(response=answer, json=body)

    seen = visit()
    seen.page.route("**/v1/model", promoted)
    answer_with(seen.page, lambda answer: answer.update(model_version="gone"))
    page = accepted(seen, film)
    assert shown_groups(page) == GROUPS
    page.locator("[data-finding=Effusion]").hover()
    about = page.locator(".about")
    expect(about).to_contain_text("the service now describes another version")
    expect(about).to_contain_text("present from 0.23")
    expect(about).not_to_contain_text("11 %")


def test_an_answer_without_calls_is_said_to_have_none(visit: Open, film: bytes) -> None:
    seen = visit()
    answer_with(seen.page, lambda answer: answer.pop("calls"))
    page = accepted(seen, film)
    expect(page.locator(".findings .hint")).to_contain_text("without calls")
    assert list(shown_groups(page)) == ["Without a call"]
    values = [float(row.inner_text()) for row in page.locator(".finding .value").all()]
    assert values == sorted(values, reverse=True)
    expect(page.locator(".list .state")).to_have_text("accepted")
    assert_accessible(page)


def test_where_nothing_is_present_it_is_said_and_other_empty_groups_are_left_out(visit: Open, film: bytes) -> None:
    def nothing(answer: Answer) -> None:
        for called in answer["calls"].values():
            called["call"] = "absent"

    seen = visit()
    answer_with(seen.page, nothing)
    page = accepted(seen, film)
    assert {name: len(rows) for name, rows in shown_groups(page).items()} == {"Present": 0, "Absent": len(LABELS)}
    expect(page.locator(".group[data-call=present] h3")).to_have_text("Present none")
    expect(page.locator(".list .state")).to_have_text("none present")


def test_integrity_has_no_colour_of_its_own(visit: Open, film: bytes) -> None:
    """Green beside findings would read as healthy."""
    page = accepted(visit(), film)
    colours = page.locator(".verdict").evaluate(
        """(verdict) => [verdict, verdict.querySelector("h2")].flatMap((each) => {
            const { color, borderInlineStartColor, backgroundColor } = getComputedStyle(each);
            return [color, borderInlineStartColor, backgroundColor];
        })"""
    )
    for colour in colours:
        red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
        assert green <= (red + blue) / 2 + 1
        assert max(red, green, blue) - min(red, green, blue) < 25


def test_the_list_says_what_came_of_each_film_and_is_sorted(visit: Open, film: bytes, attacked: bytes) -> None:
    def by_name(route: Route) -> None:
        """The page's own films of a few bytes: so many findings present, so many indeterminate, the rest absent."""
        content = route.request.post_data_buffer or b""
        if len(content) > 2:
            route.continue_()
            return
        present, indeterminate = (int(digit) for digit in content.decode())
        calls = ["present"] * present + ["indeterminate"] * indeterminate
        answer = {
            "request_id": "0" * 32,
            "model_version": "made up",
            "probabilities": dict.fromkeys(LABELS, 0.5),
            "calls": {
                name: {"call": call, "present_from": 0.5, "absent_below": 0.5, "percentile": 50}
                for name, call in zip(LABELS, calls + ["absent"] * (len(LABELS) - len(calls)), strict=True)
            },
            "source_kind": "png",
            "notes": [],
        }
        route.fulfill(body=json.dumps(answer), content_type="application/json")

    seen = visit(size=READING_ROOM)
    page = seen.page
    page.route("**/v1/score", by_name)
    page.route("**/v1/decode", lambda route: route.fulfill(body=film_png_16(np.eye(8, dtype=np.float32))))
    seen.drop(
        ("film10.png", b"01"),
        ("film9.png", b"20"),
        ("x.txt", b"text"),
        ("a.png", attacked),
        ("b.png", b"00"),
        ("c.png", b"21"),
    )
    expect(page.locator(".films > [role=status]")).to_contain_text("6 of 6 done")

    def listed() -> list[tuple[str | None, ...]]:
        # Not inner_text: a line that the browser has not drawn yet has none.
        return [tuple(row.locator(part).text_content() for part in (".name", ".state")) for row in lines.all()]

    lines = page.locator(".list li")
    assert listed() == [
        ("film10.png", "1 indeterminate"),
        ("film9.png", "2 present"),
        ("x.txt", "malformed image"),
        ("a.png", "rejected as adversarial"),
        ("b.png", "none present"),
        ("c.png", "2 present, 1 indeterminate"),
    ]
    names = {
        "most present": ["c.png", "film9.png", "film10.png", "b.png", "a.png", "x.txt"],
        "name": ["a.png", "b.png", "c.png", "film9.png", "film10.png", "x.txt"],
        "state": ["a.png", "x.txt", "film10.png", "film9.png", "b.png", "c.png"],
    }
    for order, expected in names.items():
        page.get_by_label("Sort by").select_option(order)
        assert [name for name, _ in listed()] == expected, order

    # N and P go through the list as it is sorted now, from wherever the focus is, and stop at its ends.
    page.get_by_label("Sort by").select_option("most present")
    page.get_by_role("button", name="b.png").click()
    current = page.locator(".list [aria-current=true] .name")
    page.locator("canvas").press("n")
    expect(current).to_have_text("a.png")
    page.keyboard.press("n")
    expect(current).to_have_text("x.txt")
    page.keyboard.press("n")
    expect(current).to_have_text("x.txt")
    page.keyboard.press("P")
    expect(current).to_have_text("a.png")
    page.get_by_label("Sort by").press("n")  # chooses "name"; it must not move on
    expect(current).to_have_text("a.png")


def test_the_saved_list_has_calls_points_and_percentiles(visit: Open, kept: Keeping, film: bytes) -> None:
    told: Answer = kept.score(film, "application/dicom").json()
    page = accepted(visit(), film)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    (row,) = csv.DictReader(io.StringIO(saved.value.path().read_text()))
    for name in LABELS:
        assert float(row[name]) == told["probabilities"][name]
        for field, value in told["calls"][name].items():
            assert row[f"{name}_{field}"] == ("" if value is None else str(value).removesuffix(".0")), (name, field)


def test_the_reference_is_copied(visit: Open, film: bytes) -> None:
    seen = visit()
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = accepted(seen, film)
    reference = page.locator(".foot-box code").inner_text()
    assert re.fullmatch("[0-9a-f]{32}", reference)
    page.get_by_role("button", name="Copy the reference").click()
    expect(page.locator(".foot-box [role=status]")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == reference


def test_a_film_and_its_findings_are_printed_on_one_page(visit: Open, film: bytes) -> None:
    seen = visit(scheme="dark")
    page = accepted(seen, film)
    expect(page.locator(".readout")).to_contain_text("Window 100 %")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == 1
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for words in (
        "chest.dcm",
        "Not a medical device. No diagnosis may rest on it.",
        "Integrity: no tampering found",
        "Answered by model",
        "Reference",
    ):
        expect(page.locator("body").get_by_text(words).locator("visible=true")).to_have_count(1)
    for part in (".bar", ".films", ".tools", ".actions", ".about"):
        expect(page.locator(part).locator("visible=true")).to_have_count(0)
    expect(page.locator(".finding").locator("visible=true")).to_have_count(len(LABELS))
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    page.set_viewport_size({"width": 710, "height": 1030})  # A4 less its margins
    seen.keep("viewer-print")


def test_a_heatmap_of_nothing_is_said_to_be_one(visit: Open, film: bytes) -> None:
    seen = visit(size=DESK)
    empty = encoded(Image.new("RGBA", (300, 300), (0, 0, 0, 0)))
    seen.page.route("**/v1/explain*", lambda route: route.fulfill(body=empty, content_type="image/png"))
    page = accepted(seen, film)
    page.locator("[data-finding=Mass]").click()
    expect(page.locator(".caption")).to_have_text(
        "Heatmap: Mass. Nothing to show: no place of this film stands out for it. That does not rule it out."
    )


def test_a_telephone_shows_it_without_scrolling_sideways(visit: Open, film: bytes) -> None:
    page = accepted(visit(size={"width": 390, "height": 844}), film)
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [390, 844]
    page.locator("[data-finding=Effusion]").click()
    expect(page.locator(".about")).to_be_in_viewport(ratio=1)
    assert_accessible(page)


def test_half_a_screen_shows_the_list_and_the_film_at_once(visit: Open, film: bytes) -> None:
    page = accepted(visit(size={"width": 800, "height": 900}), film)
    for part in (".list button", "canvas"):
        expect(page.locator(part)).to_be_in_viewport(ratio=0.9)
    assert page.evaluate("document.documentElement.scrollWidth") == 800
