"""A promotion in the middle of a session: two versions with points of their own, and each answer shown with those of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.pipeline.bundle import read_manifest
from tests.page.conftest import Open, site_in
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import png
from tests.support.reviewing import Keeping, keeping

#: Of Effusion: present_from, absent_below, sensitivity. Every film of these networks lies between .2 and .8.
POINTS = {"first": (0.95, 0.9, 0.123), "second": (0.05, 0.01, 0.456)}
CALLED = {"first": "absent", "second": "present"}
SHOWN = {
    "first": ("(present from 0.95, absent below 0.90)", "12 %"),
    "second": ("(present from 0.050, absent below 0.010)", "46 %"),
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, (present_from, absent_below, sensitivity) in POINTS.items():
        effusion = {"present_from": present_from, "absent_below": absent_below, "sensitivity": sensitivity}
        write_random_bundle(folder / name, ACCEPT_EVERYTHING, findings={"Effusion": effusion})
    return folder


@pytest.fixture(scope="module")
def versions(bundles: Path) -> dict[str, str]:
    """Names of the versions."""
    return {name: read_manifest(bundles / name).model_version for name in POINTS}


@pytest.fixture(scope="module")
def kept(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    site = site_in(tmp_path_factory.mktemp("site"))
    with keeping(
        site, bundles / "first", CXR_BUNDLES=str(bundles), CXR_VERSIONS_FILE=str(site.folder / "active")
    ) as it:
        yield it


def promote(kept: Keeping, version: str) -> None:
    for step in ("shadow", "promote"):
        answer = kept.ask("chief", "POST", f"/v1/versions/{version}/{step}")
        assert answer.status_code == 200, answer.text
    assert kept.client.get("/v1/model").json()["model_version"] == version


def is_shown_with_points_of(page: Page, film: str, which: str, versions: dict[str, str]) -> None:
    page.get_by_role("button", name=film).click()
    expect(page.locator(".foot-box")).to_contain_text(f"Answered by model {versions[which]}")
    expect(page.locator(f".group[data-call={CALLED[which]}] [data-finding=Effusion]")).to_have_count(1)
    page.locator("[data-finding=Effusion]").focus()
    about = page.locator(".about")
    points, sensitivity = SHOWN[which]
    expect(about).to_contain_text(points)
    expect(about.locator("dl > div").filter(has_text="Sensitivity")).to_contain_text(sensitivity)


def test_each_answer_has_the_points_and_numbers_of_its_version(
    visit: Open, kept: Keeping, versions: dict[str, str]
) -> None:
    seen = visit()
    page = seen.page
    seen.drop(("before.png", png(1)), ("before-unseen.png", png(2)))
    expect(page.locator(".list [data-state=accepted]")).to_have_count(2)
    is_shown_with_points_of(page, "before.png", "first", versions)
    page.locator("[data-finding=Effusion]").click()
    expect(page.locator(".caption")).to_contain_text("Heatmap: Effusion")
    expect(page.locator(".caption")).not_to_contain_text("being made")
    expect(page.locator(".caption")).not_to_contain_text("did not give this answer")

    promote(kept, versions["second"])
    seen.drop(("after.png", png(1)))  # the same film, judged anew
    expect(page.locator(".list [data-state=accepted]")).to_have_count(3)
    expect(page.locator(".bar .version")).to_have_text(f"Model {versions['second']}")
    is_shown_with_points_of(page, "after.png", "second", versions)
    # Answered before the promotion, and shown for the first time after it.
    is_shown_with_points_of(page, "before-unseen.png", "first", versions)
    is_shown_with_points_of(page, "before.png", "first", versions)

    # A heatmap that is made now is the new version's, and an old answer's beside it says so; one that was made before is kept.
    page.locator("[data-finding=Effusion]").click()
    expect(page.locator(".caption")).not_to_contain_text("did not give this answer")
    page.locator("[data-finding=Mass]").click()
    expect(page.locator(".caption")).to_contain_text("which did not give this answer")
    page.get_by_role("button", name="after.png").click()
    page.locator("[data-finding=Mass]").click()
    expect(page.locator(".caption")).to_contain_text("Heatmap: Mass")
    expect(page.locator(".caption")).not_to_contain_text("being made")
    expect(page.locator(".caption")).not_to_contain_text("did not give this answer")
