"""Pages of other origins in a real browser: one that is allowed scores a film and shows the findings, another is refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.access import Quota, add_key
from app.pipeline import LABELS
from tests.support.answering import answering
from tests.support.films import png
from tests.support.told import Told, told

#: What a frontend developer writes; docs/clients.md shows it.
PAGE = """<!doctype html><title>a viewer of the hospital</title>
<p id=status>nothing was asked</p><ul id=findings></ul>
<script>
async function score(service, key, film) {
    const headers = { "Content-Type": "image/png", "X-Request-ID": "viewer-1" };
    if (key) headers.Authorization = `Bearer ${key}`;
    const told = document.getElementById("status");
    try {
        const answer = await fetch(`${service}/v1/score`, { method: "POST", headers, body: film });
        const body = await answer.json();
        const wait = answer.headers.get("Retry-After");
        told.textContent = answer.ok ? body.verdict : `${body.title}${wait ? `, again in ${wait} s` : ""}`;
        told.dataset.requestId = answer.headers.get("X-Request-ID");
        for (const [name, { call }] of Object.entries(body.calls ?? {}))
            document.getElementById("findings").append(
                Object.assign(document.createElement("li"), { textContent: `${name}: ${call}` }));
    } catch (error) {
        told.textContent = `the browser gives no answer: ${error.name}`;
    }
}
</script>"""


class _Viewer(BaseHTTPRequestHandler):
    """The site of another origin."""

    def do_GET(self) -> None:
        """The page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def allowed() -> Iterator[str]:
    with answering(_Viewer) as origin:
        yield origin


@pytest.fixture(scope="module")
def another() -> Iterator[str]:
    with answering(_Viewer) as origin:
        yield origin


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    yield page
    page.close()


def score(page: Page, service: Told, key: str = "") -> None:
    page.evaluate(
        "([service, key, film]) => score(service, key, Uint8Array.from(atob(film), (c) => c.charCodeAt(0)))",
        [f"http://127.0.0.1:{service.port}", key, base64.b64encode(png()).decode()],
    )


@pytest.fixture(scope="module")
def open_service(plain_bundle: Path, allowed: str) -> Iterator[Told]:
    """Without keys."""
    with told(plain_bundle, allowed_origins=allowed) as service:
        yield service


def test_an_allowed_page_scores_a_film_and_shows_the_findings(page: Page, open_service: Told, allowed: str) -> None:
    page.goto(allowed)
    score(page, open_service)
    expect(page.locator("#status")).to_have_text("accepted")
    expect(page.locator("#findings li")).to_have_count(len(LABELS))
    expect(page.locator("#status")).to_have_attribute("data-request-id", "viewer-1")


def test_another_page_gets_nothing(page: Page, open_service: Told, another: str) -> None:
    page.goto(another)
    judged = len(open_service.screener.judged)
    score(page, open_service)
    expect(page.locator("#status")).to_have_text("the browser gives no answer: TypeError")
    assert len(open_service.screener.judged) == judged


def test_with_keys_a_page_reads_its_refusals_too(
    page: Page, plain_bundle: Path, allowed: str, another: str, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "callers.json", "viewer", ["score"], quota=Quota(1, 1))
    with told(plain_bundle, keys_file=str(tmp_path / "callers.json"), allowed_origins=allowed) as service:
        page.goto(allowed)
        score(page, service)
        expect(page.locator("#status")).to_have_text("unauthenticated")
        score(page, service, key)
        expect(page.locator("#status")).to_have_text("accepted")
        score(page, service, key)
        expect(page.locator("#status")).to_contain_text("quota, again in ")
        page.goto(another)  # whose page has got hold of a key
        score(page, service, key)
        expect(page.locator("#status")).to_have_text("the browser gives no answer: TypeError")
