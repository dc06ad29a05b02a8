"""The operations console in a real browser: what it shows is what the service counts, and what it does is done."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.page.conftest import EARLIER, READING_ROOM, Open, assert_accessible
from tests.support.films import png
from tests.support.reviewing import Keeping


def test_a_key_is_asked_for_and_kept_no_longer_than_the_tab(visit: Open, kept: Keeping) -> None:
    page = visit("/ops", key=None).page
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Key").fill("cxr_wrong")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_contain_text("the key is not known")
    dialog.get_by_label("Key").fill(kept.site.keys["chief"])
    dialog.get_by_role("button", name="Continue").click()
    expect(page.locator("[data-card=state]")).to_contain_text("Ready")
    assert page.evaluate("Object.keys(localStorage)") == []
    assert page.context.cookies() == []
    other_tab = page.context.new_page()
    other_tab.goto("/ops")
    assert other_tab.evaluate("sessionStorage.length") == 0


def test_a_key_without_the_right_is_told_so(visit: Open) -> None:
    page = visit("/ops#decisions", key="pacs").page
    expect(page.get_by_role("alert")).to_contain_text("the key has not the scope operate")


def test_what_is_rejected_now_beside_what_is_expected(visit: Open, kept: Keeping, film: bytes, attacked: bytes) -> None:
    kept.score(film, "application/dicom")
    kept.reject(attacked)
    metrics = kept.get("/metrics", "ops").text
    counted = {
        decision: sum(
            float(line.split()[-1])
            for line in metrics.splitlines()
            if line.startswith(f'cxr_decisions_total{{decision="{decision}"')
        )
        for decision in ("accepted", "rejected")
    }
    seen = visit("/ops", size=READING_ROOM)
    card = seen.page.locator("[data-card=rejection]")
    rejected, judged = counted["rejected"], sum(counted.values())
    expect(card).to_contain_text(f"{rejected:.0f} of {judged:.0f} films")
    expect(card).to_contain_text("Expected of clean films")
    expect(card.locator(".needle")).to_be_visible()
    expect(seen.page.locator("[data-card=scores] svg")).to_have_attribute("aria-label", re.compile("0–10 %: [1-9]"))
    expect(seen.page.locator("[data-card=latency]")).to_contain_text(re.compile(r"95 % within[\d.]+ m?s"))
    expect(seen.page.locator("[data-card=queue]")).to_contain_text("of at most")
    seen.keep("ops-2560x1440-light-live")


def test_five_thousand_decisions_are_paged_and_filtered(visit: Open) -> None:
    seen = visit("/ops#decisions", scheme="dark")
    page = seen.page
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(100)
    seen.keep("ops-1280x720-dark-decisions")
    page.get_by_label("Caller").fill("archive")
    page.get_by_label("Verdict").select_option("rejected")
    page.get_by_role("button", name="Show").click()
    status = page.get_by_role("tabpanel").get_by_role("status")
    shown = 0
    expect(status).to_contain_text(f"Entries {EARLIER - 24:,}")
    while True:
        shown += rows.count()
        assert set(rows.locator("td:nth-child(3)").all_inner_texts()) <= {"rejected"}
        if page.get_by_role("button", name="Older").is_disabled():
            break
        before = status.inner_text()
        page.get_by_role("button", name="Older").click()
        expect(status).not_to_have_text(before)
        if status.inner_text() == "No decision matches.":
            break
    assert shown == EARLIER / 25
    page.get_by_label("Caller").fill("nobody")
    page.get_by_role("button", name="Show").click()
    expect(status).to_have_text("No decision matches.")


def test_a_rejected_film_is_reviewed_and_released(visit: Open, kept: Keeping, attacked: bytes) -> None:
    film = kept.reject(attacked)
    seen = visit("/ops#quarantine")
    page = seen.page
    page.locator(f"[data-film='{film}']").click()
    pictures = page.locator(".pair img")
    expect(pictures).to_have_count(2)
    page.wait_for_function("() => [...document.querySelectorAll('.pair img')].every((each) => each.naturalWidth > 0)")
    expect(page.get_by_text("log density")).to_be_visible()
    seen.keep("ops-1280x720-light-quarantine")
    release = page.get_by_role("button", name="Release")
    release.click()  # without a reason nothing happens
    expect(release).to_be_visible()
    page.get_by_label("Reason").fill("the sender's own test picture")
    release.click()
    expect(page.get_by_text("This film was released.")).to_be_visible()
    expect(page.locator(f"[data-film='{film}']")).to_have_count(0)  # no longer waiting
    told = kept.get(f"/v1/results/{film}", "pacs")
    assert told.status_code == 200
    assert told.json()["released"]["reason"] == "the sender's own test picture"


def test_a_rejected_film_is_confirmed_as_bad(visit: Open, kept: Keeping, attacked: bytes) -> None:
    film = kept.reject(attacked)
    page = visit("/ops#quarantine").page
    page.locator(f"[data-film='{film}']").click()
    page.get_by_label("Reason").fill("altered, seen by the texture")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("This film was confirmed bad.")).to_be_visible()
    assert kept.get(f"/v1/quarantine/{film}").json()["state"] == "confirmed"


def test_a_version_is_tried_promoted_and_rolled_back(visit: Open, kept: Keeping, film: bytes) -> None:
    seen = visit("/ops#versions")
    page = seen.page
    before = kept.client.get("/v1/model").json()["model_version"]
    page.get_by_role("button", name="Try in shadow").click()
    expect(page.locator("tr[data-role=shadow]")).to_be_visible()
    kept.score(png(3))
    expect(page.locator("[data-card=comparison]")).to_contain_text("going on")
    seen.keep("ops-1280x720-light-versions")
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("dialog").get_by_role("button", name="No").click()
    assert kept.client.get("/v1/model").json()["model_version"] == before
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes, do it").click()
    expect(page.locator("tr[data-role=previous]")).to_contain_text(before)
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes, do it").click()
    expect(page.locator("tr[data-role=active]")).to_contain_text(before)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Open, kept: Keeping, attacked: bytes, scheme: str) -> None:
    film = kept.reject(attacked)
    page = visit("/ops", scheme=scheme).page
    expect(page.locator("[data-card=state]")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("tab", name="Decisions").click()
    expect(page.locator("tbody tr")).to_have_count(100)
    assert_accessible(page)
    page.get_by_role("tab", name="Quarantine").click()
    page.locator(f"[data-film='{film}']").click()
    expect(page.locator(".pair img")).to_have_count(2)
    assert_accessible(page)
    page.get_by_role("tab", name="Versions").click()
    expect(page.locator("tr[data-role=active]")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Key…").click()
    assert_accessible(page)
