"""axe-core finds nothing on either page, light and dark."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.http.reviewing import Keeping
from tests.page.conftest import Open


def assert_accessible(page: Page) -> None:
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    assert [(each["id"], each["nodes"][0]["html"], each["help"]) for each in results.response["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_viewer(visit: Open, film: bytes, attacked: bytes, scheme: str) -> None:
    seen = visit(scheme=scheme)
    page = seen.page
    expect(page.get_by_text("Drop a chest film here")).to_be_visible()
    assert_accessible(page)
    seen.drop(("attacked.png", attacked), ("chest.dcm", film))
    expect(page.locator(".list [data-state=accepted]")).to_have_count(1)
    expect(page.locator(".verdict.rejected")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="chest.dcm").click()
    expect(page.locator(".finding")).to_have_count(14)
    page.locator(".finding").first.click()
    expect(page.locator(".caption")).not_to_contain_text("being made")
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_console(visit: Open, kept: Keeping, attacked: bytes, scheme: str) -> None:
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
