"""A service without keys and a real browser beside it: its own pages work, and another site's reach nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.page.conftest import Visit
from tests.support.answering import Handler, answering
from tests.support.films import png
from tests.support.told import Told, told

#: What a page can send without anybody's leave: no preflight is asked for with this type.
POST_A_FILM = """async (url) => {
    const film = new Blob(["not a film, but posted"], { type: "text/plain" });
    const options = { method: "POST", body: film, mode: "no-cors" };
    return await fetch(url, options).then((answer) => answer.type, () => "failed");
}"""
READ = "async (url) => await fetch(url).then(async (answer) => [answer.status, await answer.text()], () => [0, ''])"


class _Elsewhere(Handler):
    """Another site: an empty page."""

    def get(self) -> None:
        self.answer(200, b"<!doctype html><title>elsewhere</title>", {"Content-Type": "text/html"})


@pytest.fixture(scope="module")
def service(plain_bundle: Path) -> Iterator[Told]:
    with told(plain_bundle) as service:
        yield service


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with answering(_Elsewhere) as url:
        yield f"{url}/"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(30_000)
    yield page
    page.close()


def refused(service: Told) -> float:
    return service.metric('cxr_http_requests_total{route="unmatched",status="403"}')


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_page_itself_works(service: Told, page: Page, name: str) -> None:
    page.goto(f"http://{name}:{service.port}/")
    Visit(page, []).drop(("film.png", png()))
    expect(page.locator(".verdict h2")).to_have_text("Integrity: no tampering found")


def test_the_page_works_when_a_link_on_another_site_led_to_it(service: Told, page: Page, elsewhere: str) -> None:
    page.goto(elsewhere)
    page.evaluate("(url) => { location.href = url; }", f"http://localhost:{service.port}/")
    page.wait_for_url(f"http://localhost:{service.port}/")
    Visit(page, []).drop(("film.png", png()))
    expect(page.locator(".verdict h2")).to_have_text("Integrity: no tampering found")


@pytest.mark.parametrize("path", ["/v1/score", "/dicomweb/studies"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_another_sites_page_posts_in_vain(service: Told, page: Page, elsewhere: str, name: str, path: str) -> None:
    page.goto(elsewhere)
    before = refused(service)
    assert page.evaluate(POST_A_FILM, f"http://{name}:{service.port}{path}") == "opaque"  # it was sent, and answered
    assert refused(service) == before + 1


def test_a_name_that_was_made_to_lead_here_reads_nothing(service: Told, browser: Browser) -> None:
    """DNS rebinding: to the browser the page is of the same origin, and may read whatever is answered."""
    rebound = browser.browser_type.launch(
        executable_path=shutil.which("chromium"),
        args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
    )
    try:
        page = rebound.new_page()
        page.goto(f"http://evil.example:{service.port}/healthz")
        for path in ("/metrics", "/v1/model", "/"):
            status, text = page.evaluate(READ, path)
            assert status == 403
            assert "/problems/foreign-request" in text
    finally:
        rebound.close()


def test_the_documentation_works_under_its_policy(service: Told, page: Page) -> None:
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://localhost:{service.port}/docs")
    expect(page.locator("#operations-films-score")).to_be_visible()
    page.goto(f"http://localhost:{service.port}/problems/overloaded")
    expect(page.locator("h1")).to_have_text("503 overloaded")
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"
    assert complaints == []
