"""A real browser (Debian's Chromium), services with keys and a quarantine, and films for both.

The browser, and the service that most files visit, live as long as tests of this folder run. A file that wants another service
overrides ``kept``.
"""

from __future__ import annotations

import base64
import csv
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from pydicom.data import get_testdata_file

from app.access import add_key
from app.pipeline import Screener, read_bundle
from app.pipeline.backends.torch_cpu import TorchCpu
from app.records import open_record
from benchmarks.field.frames import chest
from tests.page.bundle import write_bundle_that_calls
from tests.records.making import decision, subject, verdict
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import encoded
from tests.support.processes import ROOT
from tests.support.reviewing import Keeping, Site, keeping, keeping_here

#: Kept as artefacts of the run.
SCREENSHOTS = ROOT / "build" / "screenshots"
DESK = {"width": 1280, "height": 720}
READING_ROOM = {"width": 2560, "height": 1440}
#: Decisions that the record holds before the service starts.
EARLIER = 5_000

Film = tuple[str, bytes]


@dataclass(frozen=True)
class Visit:
    """A page of the service in a context of its own, and what its console complained of."""

    page: Page
    complaints: list[str]

    def drop(self, *films: Film) -> None:
        """Drop files on the page, as a hand would: the browser sees a real drop event with real files."""
        self.page.evaluate(
            """(films) => {
                const transfer = new DataTransfer();
                for (const [name, content] of films)
                    transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
                const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
                window.droppedAt = performance.now();
                document.body.dispatchEvent(event);
            }""",
            [[name, base64.b64encode(content).decode()] for name, content in films],
        )

    def keep(self, name: str) -> None:
        """Keep a screenshot."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


Open = Callable[..., Visit]
expect.set_options(timeout=30_000)  # a busy machine; what is true is seen at once


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing in what is shown now."""
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    assert [(each["id"], each["nodes"][0]["html"], each["help"]) for each in results.response["violations"]] == []


# Not of the whole session: Playwright's event loop would be in the way of other tests.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("Debian's chromium is absent: scripts/debian-packages.sh installs it")
    # Root, as in containers, has no sandbox; nothing but our own service is opened.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


def site_in(folder: Path) -> Site:
    """A site with a caller who may do everything."""
    site = Site.make(folder)
    site.keys["chief"] = add_key(folder / "callers.json", "chief", ["score", "review", "operate"])
    return site


@contextmanager
def serving(folder: Path, bundle: Path) -> Iterator[Keeping]:
    """Serve a new site in this process until the block ends."""
    read = read_bundle(bundle)
    with keeping_here(site_in(folder), Screener(read, TorchCpu(read.network))) as kept:
        yield kept


@pytest.fixture(scope="session")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It accepts everything."""
    return write_random_bundle(tmp_path_factory.mktemp("plain") / "bundle", ACCEPT_EVERYTHING)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, plain_bundle: Path, film: bytes, attacked: bytes) -> Path:
    """It accepts ``film`` and calls its findings as tests.page.bundle.WISHED has it, and rejects ``attacked``."""
    return write_bundle_that_calls(tmp_path_factory.mktemp("called") / "bundle", plain_bundle, film, attacked)


@pytest.fixture(scope="package")
def with_record(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Keeping]:
    """A service in a process of its own, whose record holds decisions; another version may be tried."""
    site = site_in(tmp_path_factory.mktemp("site"))
    write_random_bundle(site.folder / "bundles" / "other", ACCEPT_EVERYTHING)
    record = open_record(site.settings["CXR_RECORD_URL"], Path(site.settings["CXR_RECORD_KEY_FILE"]))
    record.write(
        [
            decision(
                subject(record.key, seed),
                verdict(seed, accepted=seed % 25 > 0),
                request_id=f"{seed:032x}",
                caller="archive",
            )
            for seed in range(EARLIER)
        ]
    )
    record.close()
    with keeping(
        site, bundle, CXR_BUNDLES=str(site.folder / "bundles"), CXR_VERSIONS_FILE=str(site.folder / "active")
    ) as it:
        yield it


@pytest.fixture(scope="module")
def kept(with_record: Keeping) -> Keeping:
    """The service that is visited."""
    return with_record


@pytest.fixture
def visit(browser: Browser, kept: Keeping) -> Iterator[Open]:
    """Open a path; whatever the console complains of but answers that are problems fails the test."""
    visits: list[Visit] = []

    def opened(path: str = "/", size: dict[str, int] = DESK, scheme: str = "light", key: str | None = "chief") -> Visit:
        context = browser.new_context(
            base_url=str(kept.client.base_url),
            viewport=size,  # type: ignore[arg-type]  # playwright's own TypedDict
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        if key is not None:
            context.add_init_script(f"sessionStorage.setItem('cxr-gate-key', '{kept.site.keys[key]}')")
        page = context.new_page()
        page.set_default_timeout(30_000)
        made = Visit(page, [])

        def heard(message: ConsoleMessage) -> None:
            if message.type == "error" and not re.match(r"Failed to load resource: .* (4\d\d|503)", message.text):
                made.complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.goto(path)
        visits.append(made)
        return made

    yield opened
    for each in visits:
        # A route that is still at work when its page goes fails, and would be told of in another test.
        each.page.unroute_all(behavior="wait")
        each.page.context.close()
        assert each.complaints == []


@pytest.fixture(scope="session")
def film() -> bytes:
    """A real chest film of 15 bits, which the environment holds."""
    path = get_testdata_file("RG1_UNCR.dcm")
    assert path
    return Path(path).read_bytes()


def drawn(film: np.ndarray) -> bytes:
    """A film of shares in [0, 1], as an 8-bit PNG."""
    return encoded(Image.fromarray((film * 255).round().astype(np.uint8)))


@pytest.fixture(scope="session")
def attacked() -> bytes:
    """What the gate of ``bundle`` takes for tampered with: a drawn chest."""
    return drawn(chest(300, 300))


@pytest.fixture(scope="session")
def films(shared_data: Path) -> Sequence[Film]:
    """Films of the shared folder, of patients whom neither network nor gate has seen."""
    folder = shared_data / "chest_xrays"
    with (folder / "labels.csv").open(newline="") as table:
        held_out = [row["Image Index"] for row in csv.DictReader(table) if row["split"] == "test"]
    return [(name, (folder / "images" / name).read_bytes()) for name in held_out[:6]]
