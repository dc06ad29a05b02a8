"""A rejected film in the viewer, and what its reviewers come to: the page asks, gently, and shows what is released."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, expect

from app.pipeline.labels import LABELS
from tests.page.conftest import Film, Open, Visit, assert_accessible, serving
from tests.support.bundles import REJECT_EVERYTHING, write_random_bundle
from tests.support.films import png
from tests.support.reviewing import REASON, Keeping

FIRST: Film = ("first.png", png(1))
SECOND: Film = ("second.png", png(2))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    """It rejects every film."""
    folder = tmp_path_factory.mktemp("none")
    with serving(folder, write_random_bundle(folder / "bundle", REJECT_EVERYTHING)) as it:
        yield it


def answer_with(page: Page, path: str, status: int, title: str, **more: int) -> None:
    """What the page posts or asks for there is answered by this problem, and does not reach the service."""
    problem = {"title": title, "detail": "", "type": "", "request_id": "0" * 32}
    page.route(
        path,
        lambda route: route.fulfill(status=status, content_type="application/problem+json", body=json.dumps(problem)),
        **more,
    )


def asked_of(page: Page) -> list[str]:
    """Ids, as the page asks for their results."""
    ids: list[str] = []

    def heard(request: Request) -> None:
        if "/v1/results/" in request.url:
            ids.append(request.url.rpartition("/")[2])

    page.on("request", heard)
    return ids


def rejected(visit: Visit, *films: Film) -> dict[str, str]:
    """Drop them; gives their references by name."""
    visit.drop(*films)
    ids = {}
    for name, _ in films:
        visit.page.get_by_role("button", name=name).click()
        expect(visit.page.locator(".verdict.rejected")).to_be_visible()
        ids[name] = visit.page.locator(".foot-box code").inner_text()
    return ids


def test_a_released_film_turns_into_its_result_before_its_senders_eyes(visit: Open, kept: Keeping) -> None:
    seen = visit(key="pacs")
    page = seen.page
    page.clock.install()
    (film,) = rejected(seen, FIRST).values()
    page.clock.run_for(2_000)
    state = page.locator(".review-state")
    expect(state).to_have_text("The film waits for a reviewer. If one releases it, its findings appear here.")
    expect(page.locator(".finding")).to_have_count(0)
    assert kept.decide(film, "release").status_code == 200
    page.clock.run_for(20_000)
    expect(page.locator(".verdict.released h2")).to_have_text("Rejected by the gate, released by a reviewer")
    expect(page.locator(".verdict")).to_contain_text("dr.b released it on")
    expect(page.locator(".verdict blockquote")).to_have_text(REASON)
    expect(page.locator(".panel")).not_to_contain_text("no tampering found")
    expect(page.locator(".foot-box code")).to_have_text(film)
    told = kept.get(f"/v1/results/{film}", "pacs").json()
    expect(page.locator(".finding")).to_have_count(len(LABELS))
    for name, value in told["probabilities"].items():
        digits = page.locator(f"[data-finding={name}] .value").inner_text()
        assert float(digits) == pytest.approx(value, abs=0.51 * 10.0 ** -len(digits.partition(".")[2]))
    expect(page.locator(".list .state")).to_contain_text("released: ")
    expect(page.locator(".films > [role=status]")).to_contain_text("0 rejected, 1 released")
    assert_accessible(page)
    seen.keep("viewer-1280x720-light-released")

    # The gate would reject the film again, and each heatmap would be a rejection more.
    explained: list[str] = []
    page.on("request", lambda request: explained.append(request.url) if "explain" in request.url else None)
    page.locator(".finding").first.click()
    expect(page.locator(".caption")).to_contain_text("still rejects this film")
    assert explained == []
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    (row,) = csv.DictReader(io.StringIO(saved.value.path().read_text()))
    assert (row["verdict"], row["request_id"]) == ("released", film)
    assert float(row["Mass"]) == told["probabilities"]["Mass"]


def test_a_film_that_is_confirmed_or_not_kept_is_said_to_be_so_and_asked_for_no_more(
    visit: Open, kept: Keeping
) -> None:
    seen = visit(key="pacs")
    page = seen.page
    page.clock.install()
    asked = asked_of(page)
    answer_with(page, "**/v1/score", 422, "rejected as adversarial", times=1)
    ids = rejected(seen, SECOND)
    page.clock.run_for(2_000)
    expect(page.locator(".review-state")).to_contain_text("does not keep the film")
    ids |= rejected(seen, FIRST)
    page.clock.run_for(8_000)
    expect(page.locator(".review-state")).to_contain_text("waits for a reviewer")
    assert kept.decide(ids[FIRST[0]], "confirm").status_code == 200
    page.clock.run_for(30_000)
    expect(page.locator(".review-state")).to_contain_text("confirmed that it is bad")
    expect(page.locator(".finding")).to_have_count(0)
    count = len(asked)
    page.clock.run_for(1_200_000)
    assert len(asked) == count
    assert asked.count(ids[SECOND[0]]) == 1


def test_it_asks_less_and_less_often_and_not_at_all_while_nobody_looks(visit: Open) -> None:
    seen = visit(key="pacs")
    page = seen.page
    page.clock.install()
    asked = asked_of(page)
    answer_with(page, "**/v1/results/*", 409, "awaiting review")
    ids = rejected(seen, FIRST, SECOND)

    def asked_within(seconds: int, step: int = 1) -> int:
        """Steps are no longer than the page's own pause between two questions, so each is answered before the next."""
        before = len(asked)
        for _ in range(0, seconds, step):
            page.clock.run_for(1_000 * step)
        page.wait_for_timeout(50)
        return len(asked) - before

    assert asked_within(10) == 2  # one film, and after a pause the other
    assert set(asked) == set(ids.values())
    early, late = asked_within(120), [asked_within(600, step=5) for _ in range(3)][-1]
    assert 6 <= early <= 10
    assert 3 <= late <= 5  # two films, each every five minutes
    page.evaluate(
        """() => {
            Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    assert asked_within(900, step=5) == 0
    page.evaluate("() => { delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange')); }")
    assert asked_within(15) == 2


def test_a_key_that_is_no_longer_good_is_not_asked_for_by_the_page_itself(visit: Open) -> None:
    seen = visit(key="pacs")
    page = seen.page
    page.clock.install()
    asked = asked_of(page)
    answer_with(page, "**/v1/results/*", 401, "unauthenticated")
    rejected(seen, FIRST)
    page.clock.run_for(600_000)
    expect(page.locator("dialog")).to_have_count(0)
    assert len(asked) == 1


def test_another_callers_film_is_not_told(kept: Keeping) -> None:
    """What the page asks is no oracle: an id is worth nothing to whom it was not given."""
    film = kept.reject(png(3))
    assert kept.get(f"/v1/results/{film}", "ward").status_code == 404
    assert kept.get(f"/v1/results/{film}", "pacs").status_code == 409
    assert kept.decide(film, "release").status_code == 200
    others, unknown = (kept.get(f"/v1/results/{each}", "ward").json() for each in (film, "0" * 32))
    assert {name: others[name] for name in ("title", "detail", "status")} == {
        name: unknown[name] for name in ("title", "detail", "status")
    }
