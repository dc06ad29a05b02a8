"""The bundle that is served, in a real browser: a real film, and the same one really attacked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, expect

from app.pipeline import decode, film_tensor, read_bundle
from app.pipeline.network import LogitsOnly
from offline.attacks import AttackOptions, as_posted, attack
from offline.demo import png as png_of
from tests.page.conftest import DESK, Visit
from tests.support.processes import ROOT
from tests.support.served import serve

BUNDLE = ROOT / "artifacts" / "default"


@pytest.fixture(scope="module")
def attacked_film(film: bytes) -> bytes:
    """The film at 224x224, attacked by BIM: an 8-bit PNG, as it would be posted."""
    network = LogitsOnly(read_bundle(BUNDLE).network)
    torch.manual_seed(0)
    clean = as_posted(film_tensor(decode(film)))
    return png_of(as_posted(attack(network, clean, AttackOptions(epsilon=0.02, step_size=0.005, steps=6))))


def test_a_film_is_called_and_its_attacked_copy_refused(
    browser: Browser, film: bytes, attacked_film: bytes, tmp_path: Path
) -> None:
    with serve(BUNDLE, tmp_path / "log") as service:
        told = service.post(film, "application/dicom").json()
        page = browser.new_page(base_url=str(service.client.base_url), viewport=DESK)  # type: ignore[arg-type]
        page.set_default_timeout(30_000)
        page.goto("/")
        seen = Visit(page, [])
        seen.drop(("film.dcm", film))
        expect(page.locator(".verdict h2")).to_have_text("Integrity: no tampering found")
        for name, called in told["calls"].items():
            expect(page.locator(f"[data-finding={name}]")).to_contain_text(f"higher than {int(called['percentile'])} %")
        seen.drop(("attacked.png", attacked_film))
        page.get_by_role("button", name="attacked.png").click()
        expect(page.locator(".verdict h2")).to_have_text("Rejected: this image may have been altered")
        expect(page.locator(".finding")).to_have_count(0)
        page.close()
